import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from sdflow_jax.editor import Editor
from sdflow_jax.files import networks
from sdflow_jax.files import run_config as config_file
from sdflow_jax.images.pixels import to_bytes
from sdflow_jax.methods.sdflow.editing import FlowEditing
from sdflow_jax.models.refinement import Whitening
from tests.exported_run import ATTRIBUTES, DIM, NETWORKS, SIZE, STYLES, write_run
from tests.filled_networks import filled_arrays


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def editor(workdir):
    return Editor.from_workdir(workdir, batch_size=2)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def w_plus(editor, images):
    return editor.invert(images)


def test_shapes_and_ranges(editor, images, w_plus):
    assert w_plus.shape == (3, STYLES, DIM)
    faces = editor.synthesize(w_plus)
    assert faces.shape == (3, SIZE, SIZE, 3) and np.abs(faces).max() <= 1
    read = editor.read(images)
    assert read.shape == (3, 2) and (read > 0).all() and (read < 1).all()
    assert editor.method.reader == "semantic encoder"


def test_what_is_compiled_beforehand_is_not_compiled_again(workdir, images, caplog):
    fresh = Editor.from_workdir(workdir, batch_size=3)  # a size of batch that no other test has
    fresh.compile()
    with jax.log_compiles():
        edited = fresh.edit(fresh.invert(images), images, {ATTRIBUTES[0]: 1.0})
        fresh.synthesize(edited)
    compiled = [x.message for x in caplog.records if "Finished XLA compilation" in x.message]
    own = ("jit(_edit)", "jit(_invert)", "jit(_synthesize)")
    assert not [message for message in compiled if any(name in message for name in own)]
    with pytest.raises(ValueError, match="size must be one of"):
        fresh.compile(size=17)


def test_setting_what_was_read_changes_nothing(editor, images, w_plus):
    read = editor.read(images)
    targets = {name: read[:, i] for i, name in enumerate(ATTRIBUTES)}
    # Out and back at tolerance 1e-5: an error of a few 1e-5, see also the flow's own tests.
    np.testing.assert_allclose(editor.edit(w_plus, images, targets), w_plus, atol=1e-3)
    np.testing.assert_allclose(editor.edit(w_plus, images, {}), w_plus, atol=1e-3)


def test_edit_goes_out_under_what_was_read_and_back_under_the_target(editor, images, w_plus):
    read = editor.read(images)
    wanted = read.copy()
    wanted[:, 1] = 1.2
    flow = editor.method.flow
    expected = jax.jit(
        lambda w_plus: flow.inverse(flow.forward(w_plus, read).latents, wanted).latents
    )(w_plus)
    edited = editor.edit(w_plus, images, {"Eyeglasses": 1.2})
    assert np.abs(edited - w_plus).max() > 0.05
    np.testing.assert_allclose(edited, expected, atol=1e-3)


def test_one_row_is_edited_as_the_same_row_in_all_styles(editor, images, w_plus):
    row = w_plus[:, :1]
    rows = np.repeat(row, STYLES, axis=1)
    edited, expected = (editor.edit(w, images, {"Young": 1.0}) for w in (row, rows))
    assert edited.shape == (3, 1, DIM) and np.abs(edited - row).max() > 0.05
    # Both within the solver's tolerance.
    np.testing.assert_allclose(np.repeat(edited, STYLES, axis=1), expected, atol=1e-3)
    np.testing.assert_allclose(editor.synthesize(row), editor.synthesize(rows), atol=1e-5)


def test_targets_may_differ_from_face_to_face(editor, images, w_plus):
    target = np.array([0.0, 0.5, 1.0], np.float32)
    together = editor.edit(w_plus, images, {"Young": target})
    alone = [
        editor.edit(w_plus[i : i + 1], images[i : i + 1], {"Young": target[i]}) for i in range(3)
    ]
    # Faces of a batch share the solver's steps, so they agree to its tolerance.
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-3)


def test_without_images_the_synthesis_is_read(editor, w_plus):
    faces = editor.synthesize(w_plus)
    np.testing.assert_array_equal(
        editor.edit(w_plus, None, {"Young": 1.0}), editor.edit(w_plus, faces, {"Young": 1.0})
    )


def test_another_number_of_faces_waits_for_no_compiler(editor, images, w_plus):
    editor.edit(w_plus, images, {"Young": 1.0})
    with jax.no_tracing():
        editor.edit(w_plus[:1], images[:1], {"Eyeglasses": 0.0})
        editor.edit(np.tile(w_plus, (2, 1, 1)), np.tile(images, (2, 1, 1, 1)), {})


def test_eight_bit_and_float_images_are_the_same_faces(editor, images):
    floats = images.astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(editor.read(images), editor.read(floats), atol=1e-5)


def test_sample_is_decided_by_its_key(editor):
    wanted = np.array([[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]])
    first, again, other = (editor.sample(wanted, jax.random.key(seed)) for seed in (0, 0, 1))
    assert first.shape == (3, SIZE, SIZE, 3)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert editor.sample(wanted[0], jax.random.key(0)).shape == (SIZE, SIZE, 3)
    with pytest.raises(
        ValueError, match=r"\[b, 2\] or \[2\], of Young, Eyeglasses; got shape \(3,"
    ):
        editor.sample(wanted[:, :1], jax.random.key(0))


def test_unknown_attribute_is_named(editor, images, w_plus):
    with pytest.raises(ValueError, match=r"unknown attribute 'Glasses'.*Young, Eyeglasses"):
        editor.edit(w_plus, images, {"Glasses": 1.0})


def test_target_that_is_no_number_is_refused(editor, images, w_plus):
    for value in (float("nan"), float("inf"), 1e39, [0.0, 1.0, float("nan")]):  # 1e39: in float32
        with pytest.raises(ValueError, match="target of Young must be finite"):
            editor.edit(w_plus, images, {"Young": value})
    with pytest.raises(ValueError, match="semantic variables of face 1 are NaN or infinite"):
        editor.sample(np.array([[0.1, 0.9], [np.nan, 0.5]]), jax.random.key(0))


def test_targets_far_beyond_the_range_are_warned_of_at_the_users_line(editor, images, w_plus):
    for beyond in (20.0, np.array([0.0, 1.0, -3.0])):
        with pytest.warns(UserWarning, match="the target of Young is (20|-3); 0 and 1") as told:
            editor.edit(w_plus, images, {"Young": beyond})
        assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="the target of Young is 20") as told:
        editor(images, {"Young": 20.0})
    assert told[0].filename == __file__


def test_a_call_is_refused_before_the_inversion(editor, images, monkeypatch):
    monkeypatch.setattr(type(editor), "invert", None)
    with pytest.raises(ValueError, match="unknown attribute 'Yung'"):
        editor(images, {"Yung": 1.0})
    with pytest.raises(ValueError, match="the target of Young must be a number, got 'high'"):
        editor(images, {"Young": "high"})
    with pytest.raises(ValueError, match="size must be one of"):
        editor(images, {"Young": 1.0}, size=100)


def test_a_face_that_the_generator_cannot_draw_is_an_error(editor, w_plus):
    class Overflowing(Larger):
        def synthesize(self, w_plus, resolution=None):
            brightest = w_plus[:, :1, :1, None]
            return super().synthesize(w_plus, resolution) + jnp.where(brightest > 9, jnp.nan, 0.0)

    shown = Editor(
        editor.method,
        editor.generator,
        editor.inversion_encoder,
        renderer=Overflowing(editor.generator),
    )
    codes = w_plus.copy()
    codes[1, 0, 0] = 10.0
    with pytest.raises(FloatingPointError, match="so far from all faces"):
        shown.synthesize(codes)


def test_nothing_is_no_batch(editor):
    with pytest.raises(ValueError, match="latents of at least one face"):
        editor.synthesize(np.zeros((0, STYLES, DIM)))
    with pytest.raises(ValueError, match="semantic variables of at least one face"):
        editor.sample(np.zeros((0, len(editor.attributes))), jax.random.key(0))


@pytest.mark.parametrize("seeds", [[], -1, 60003.7, True, [[1, 2]], "1"])
def test_seeds_that_are_none_are_refused(editor, seeds):
    with pytest.raises(ValueError, match="seeds must be whole numbers"):
        editor.codes_of_seeds(seeds)


@pytest.mark.parametrize("truncation", [-0.1, float("nan"), float("inf")])
def test_a_truncation_must_be_a_share(editor, truncation):
    with pytest.raises(ValueError, match="truncation must be a number of at least 0"):
        editor.codes_of_seeds(1, truncation=truncation)


def test_pixels_in_the_wrong_range_are_refused(editor, images):
    with pytest.raises(ValueError, match=r"8-bit images or floats in \[-1, 1\]"):
        editor.invert(images.astype(np.float32))
    with pytest.raises(ValueError, match="square RGB images"):
        editor.read(images[0, 0])
    with pytest.warns(UserWarning, match="nowhere below 0"):
        editor.read(images / 255.0)


def test_pixels_and_latents_that_are_no_numbers_name_their_face(editor, images, w_plus):
    broken = images / 127.5 - 1
    broken[2, 0, 0] = np.nan
    for function in (editor.invert, editor.read, lambda x: editor.edit(w_plus, x, {})):
        with pytest.raises(ValueError, match="face 2 has pixels that are NaN"):
            function(broken)
    codes = w_plus.copy()
    codes = codes.astype(np.float64)
    codes[1, 0, 0] = 1e39  # more than float32 holds
    for function in (editor.synthesize, lambda w: editor.edit(w, images, {"Young": 1.0})):
        with pytest.raises(ValueError, match="latents of face 1 are NaN or infinite"):
            function(codes)


def test_latents_of_another_generator_are_refused(editor, images, w_plus):
    more = np.concatenate([w_plus, w_plus[:, :1]], axis=1)
    for function in (editor.synthesize, lambda w: editor.edit(w, images, {})):
        with pytest.raises(ValueError, match=r"must be \[b, 8, 6\].*got shape \(3, 9, 6\)"):
            function(more)


def test_latents_and_images_must_be_as_many(editor, images, w_plus):
    with pytest.raises(ValueError, match="3 latents of faces and 2 images"):
        editor.edit(w_plus, images[:2], {})
    with pytest.raises(ValueError, match=r"Young must be one number, or one for each of 3"):
        editor.edit(w_plus, images, {"Young": [0.0, 1.0]})


def test_one_face_in_gives_one_face_out(editor, images, w_plus, tmp_path):
    Image.fromarray(images[0]).save(tmp_path / "face.png")
    for face in (images[0], Image.fromarray(images[0]), tmp_path / "face.png"):
        np.testing.assert_allclose(editor.invert(face), w_plus[0], atol=1e-4)
        assert editor.read(face).shape == (2,)
        code = editor.edit(w_plus[0], face, {"Young": 1.0})
        assert code.shape == (STYLES, DIM)
        assert editor.synthesize(code).shape == (SIZE, SIZE, 3)
        picture = editor(face, {"Young": 1.0})
        assert picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8


def test_a_call_inverts_edits_and_synthesizes(editor, images, w_plus):
    targets = {"Young": 0.2, "Eyeglasses": 1.0}
    expected = to_bytes(editor.synthesize(editor.edit(w_plus, images, targets)))
    found = editor(list(images), targets)
    assert found.shape == (3, SIZE, SIZE, 3)
    np.testing.assert_allclose(found.astype(int), expected, atol=1)
    assert editor(images[:1], targets, size=16).shape == (1, 16, 16, 3)


def test_refinement_starts_from_what_the_encoder_finds(editor, images, w_plus):
    inverse = np.asarray(Whitening.of_generator(editor.generator).inverse)
    moved = (editor.invert(images[:2], num_steps=2) - w_plus[:2]) @ inverse
    # Two steps of Adam: of n and of d_i, each of the learning rate at most.
    assert 0.02 < np.abs(moved).max() < 0.16
    with pytest.raises(ValueError, match="num_steps must be at least 0"):
        editor.invert(images, num_steps=-1)


def test_faces_of_seeds_are_the_same_everywhere(editor):
    codes = editor.codes_of_seeds([3, 7, 3])
    assert codes.shape == (3, STYLES, DIM)
    np.testing.assert_array_equal(codes[0], codes[2])
    z = np.random.default_rng(7).standard_normal((1, DIM)).astype(np.float32)
    generator = editor.generator
    expected = generator.broadcast(generator.truncate(generator.map(z), 0.9))[0]
    np.testing.assert_allclose(editor.codes_of_seeds(7), expected, atol=1e-6)
    average = editor.codes_of_seeds(7, truncation=0.0)
    np.testing.assert_allclose(average[0], generator.w_average[...], atol=1e-6)


class Larger(nnx.Module):
    """A renderer: the faces of another generator, with each pixel drawn twice as large."""

    def __init__(self, generator, style_dim=DIM):
        self.generator = generator
        self.resolution, self.picture_sizes = 2 * SIZE, (SIZE, 2 * SIZE)
        self.num_styles, self.style_dim = STYLES, style_dim

    def synthesize(self, w_plus, resolution=None):
        faces = self.generator.synthesize(w_plus)
        return faces if resolution == SIZE else faces.repeat(2, axis=1).repeat(2, axis=2)


def test_a_renderer_shows_what_the_generator_is_read_from(editor, w_plus):
    networks_of = (editor.method, editor.generator, editor.inversion_encoder)
    shown = Editor(*networks_of, renderer=Larger(editor.generator), batch_size=2)
    assert (editor.sizes, shown.sizes) == ((16, 32), (16, 32, 64))
    assert shown.synthesize(w_plus).shape == (3, 64, 64, 3)
    assert shown.synthesize(w_plus[0], size=32).shape == (32, 32, 3)
    np.testing.assert_array_equal(
        shown.edit(w_plus, None, {"Young": 1.0}), editor.edit(w_plus, None, {"Young": 1.0})
    )
    np.testing.assert_array_equal(shown.generate(w_plus), editor.synthesize(w_plus))
    assert shown.generate(w_plus[0]).shape == (SIZE, SIZE, 3)
    with pytest.raises(ValueError, match="size must be one of 16, 32, got 64"):
        editor.synthesize(w_plus, size=64)
    with pytest.raises(ValueError, match=r"the renderer has \(8, 7\); .* two different worlds"):
        Editor(*networks_of, renderer=Larger(editor.generator, style_dim=DIM + 1))


@pytest.mark.parametrize(
    ("num_steps", "expected"),
    [
        (2, [("generator", 0, 2)]),
        (20, [("generator", 0, 16), ("renderer", 16, 20)]),
    ],
)
def test_the_last_fifth_of_a_refinement_is_seen_by_the_renderer(
    editor, images, monkeypatch, num_steps, expected
):
    taken = []

    def record(seen, whitening, refinement, pictures, steps, num_steps, identity):
        name = "generator" if seen is editor.generator else "renderer"
        taken.append((name, *map(int, steps)))
        return refinement

    monkeypatch.setattr("sdflow_jax.editor.continue_refinement", record)
    renderer = nnx.clone(editor.generator)
    shown = Editor(editor.method, editor.generator, editor.inversion_encoder, renderer=renderer)
    shown.invert(images[0], num_steps=num_steps)
    assert taken == expected


def test_a_packaged_world_is_seen_through_its_renderer(monkeypatch):
    # In place of the large network the generator itself, which takes the same codes.
    monkeypatch.setattr("sdflow_jax.pocket.renderer.load_renderer", lambda generator: generator)
    with pytest.raises(
        networks.NetworkFileError, match=r"'ffhq' is no packaged world; there is pocket"
    ):
        Editor.from_pretrained("ffhq")
    found = Editor.from_pretrained("pocket")
    assert found.renderer is found.generator


def test_network_files_make_an_editor(workdir, editor, images):
    files = {name: workdir / "networks" / f"{name}.safetensors" for name in list(NETWORKS)[:2]}
    files |= {name: workdir / "sdflow" / f"{name}.safetensors" for name in list(NETWORKS)[2:]}
    found = Editor.from_files(**files, batch_size=2)
    np.testing.assert_array_equal(found.read(images), editor.read(images))
    assert found.renderer is None
    with pytest.raises(networks.NetworkFileError, match="expected a Generator"):
        Editor.from_files(**{**files, "generator": files["inversion_encoder"]})


def test_failed_solve_is_an_error_and_never_a_face(workdir, editor, images, w_plus):
    method = FlowEditing.from_workdir(workdir, solver={"max_steps": 1})
    failing = Editor(method, editor.generator, editor.inversion_encoder, batch_size=2)
    with pytest.raises(FloatingPointError, match="could not be solved"):
        failing.edit(w_plus, images, {"Young": 1.0})


def test_run_without_inversion_encoder_edits_latents_but_inverts_nothing(
    workdir, editor, images, w_plus, tmp_path
):
    moved = shutil.copytree(workdir, tmp_path / "run")
    config = json.loads((moved / "config.json").read_text())
    config["networks"]["inversion_encoder"] = ""
    del config["network_digests"]["inversion_encoder"]
    (moved / "config.json").write_text(json.dumps(config))
    without = Editor.from_workdir(moved, batch_size=2)
    with pytest.raises(ValueError, match="this run has no inversion encoder"):
        without.invert(images)
    np.testing.assert_allclose(
        without.edit(w_plus, images, {"Young": 1.0}),
        editor.edit(w_plus, images, {"Young": 1.0}),
        atol=1e-6,
    )


def test_run_without_exported_networks_says_so(workdir, tmp_path):
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    with pytest.raises(networks.NetworkFileError, match=r"has the training in .* finished"):
        Editor.from_workdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        Editor.from_workdir(tmp_path / "elsewhere")


def test_semantic_encoder_must_name_its_attributes(workdir, tmp_path):
    kind, arguments = NETWORKS["semantic_encoder"]
    path = tmp_path / "encoder.safetensors"
    networks.save_arrays(path, kind, arguments, filled_arrays(kind, arguments))
    flow = workdir / "sdflow" / "flow.safetensors"
    with pytest.raises(networks.NetworkFileError, match="lacks the note 'attributes'"):
        FlowEditing.load(flow, path)
    for notes, message in (
        ({"attributes": "Young,Young", "image_size": "16"}, "names one of them twice: Young,Young"),
        ({"attributes": "Male,Young", "image_size": "16px"}, "number of pixels, got '16px'"),
    ):
        networks.save_arrays(path, kind, arguments, filled_arrays(kind, arguments), notes=notes)
        with pytest.raises(networks.NetworkFileError, match=message):
            FlowEditing.load(flow, path)


def test_run_whose_generator_was_replaced_is_refused(workdir, tmp_path):
    moved = shutil.copytree(workdir, tmp_path / "run")
    config = json.loads((moved / "config.json").read_text())
    config["networks"]["generator"] = "pocket:generator"
    (moved / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        config_file.ConfigError, match="config.networks.generator: pocket:generator"
    ):
        Editor.from_workdir(moved)


def test_a_refinement_tells_how_far_it_is_and_is_the_same(editor, images):
    told = []
    refined = editor.invert(images[:2], num_steps=7, report=lambda *steps: told.append(steps))
    np.testing.assert_array_equal(refined, editor.invert(images[:2], num_steps=7))
    assert told == [(0, 7), (5, 7), (7, 7)]
