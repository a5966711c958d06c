import numpy as np
import pytest

from sdflow_jax.demo.studio import Studio
from sdflow_jax.editor import Editor
from sdflow_jax.images.pixels import to_bytes
from tests.exported_run import ATTRIBUTES, SIZE, write_run

PHOTO = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
TARGETS = {"Young": 0.9}


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    return Editor.from_workdir(write_run(tmp_path_factory.mktemp("run")), batch_size=1)


@pytest.fixture(scope="module")
def studio(editor):
    studio = Studio(editor)
    studio.warm_up()
    return studio


@pytest.fixture(scope="module")
def sampled(studio):
    return studio.sample(3)


@pytest.fixture(scope="module")
def inverted(studio):
    return studio.invert(PHOTO)


def close(a, b):
    """Pixels that differ by rounding, or by what two paths to one equation's solution may."""
    return np.abs(a.astype(int) - b.astype(int)).max() <= 1


def test_a_sampled_face_is_edited_as_the_editor_does(studio, editor, sampled):
    w_plus = editor.codes_of_seeds(3)
    expected = editor.generate(editor.edit(w_plus[:1], None, TARGETS))
    edit = studio.edit(sampled, TARGETS, SIZE)
    assert close(edit.picture, to_bytes(expected))
    np.testing.assert_allclose(edit.measured, editor.read(expected), atol=1e-4)
    assert close(sampled.rendered, to_bytes(editor.generate(w_plus)))


def test_a_photo_is_edited_as_the_editor_does(studio, editor, inverted):
    assert close(studio.edit(inverted, TARGETS, SIZE).picture, editor(PHOTO, TARGETS))
    np.testing.assert_allclose(inverted.given, editor.read(PHOTO), atol=1e-6)
    np.testing.assert_array_equal(inverted.photo, PHOTO)


def test_what_follows_a_slider_is_what_stays(studio, sampled):
    followed = studio.follow(sampled, TARGETS)
    edit = studio.edit(sampled, TARGETS, studio.full_size)
    np.testing.assert_array_equal(followed.picture, edit.picture)
    np.testing.assert_array_equal(followed.measured, edit.measured)


def test_only_sliders_that_have_been_moved_are_edits(studio, sampled):
    sliders = studio.sliders(sampled)
    assert studio.targets(sampled, sliders) == {}
    moved = (sliders[0], 1.2)
    assert studio.targets(sampled, moved) == {ATTRIBUTES[1]: 1.2}
    for value in (None, float("nan"), "1"):
        with pytest.raises(ValueError, match="Eyeglasses needs a number"):
            studio.targets(sampled, (0.5, value))


def test_without_edits_the_face_is_as_it_was(studio, inverted):
    edit = studio.edit(inverted, {}, studio.full_size)
    assert edit.picture is inverted.rendered and edit.measured is inverted.measured


def test_a_refinement_is_told_and_kept_with_the_face(studio):
    told = []
    face = studio.invert(PHOTO, num_steps=6, report=lambda *steps: told.append(steps))
    assert told[-1] == (6, 6) and face.num_steps == 6
    studio.warm_up_refinement()


def test_one_visitors_face_knows_nothing_of_anothers(studio, sampled):
    before = studio.edit(sampled, TARGETS, SIZE)
    other = studio.sample(4)
    studio.edit(other, {"Eyeglasses": 1.5}, SIZE)
    again = studio.edit(sampled, TARGETS, SIZE)
    np.testing.assert_array_equal(before.picture, again.picture)
    assert not np.array_equal(other.rendered, sampled.rendered)


def test_the_notes_say_how_the_picture_was_made(studio, sampled):
    edit = studio.edit(sampled, TARGETS, SIZE)
    notes = studio.notes(sampled, TARGETS, edit)
    assert notes["seed"] == 3 and notes["targets"] == TARGETS
    assert list(notes["measured"]) == list(ATTRIBUTES)


def test_thumbnails_are_small(studio):
    assert studio.thumbnail(3, 16).shape == (16, 16, 3)
