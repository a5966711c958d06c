import shutil
import tempfile

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from flax import nnx

from reliability.tiny_world import write_pictures
from sdflow_jax.data import face_latents
from sdflow_jax.data.annotation_cache import AnnotationCache
from sdflow_jax.data.file_digests import FileDigests
from sdflow_jax.data.image_folder import ImageFolder
from sdflow_jax.data.image_source import DataError
from sdflow_jax.files import networks
from sdflow_jax.files.lock import InUseError, locked
from tests.full_disk import full_disk

SPLITS = {"train": (0, 5), "test": (5, 8)}


class MeanEncoder(nnx.Module):
    """Latents that follow from the mean color."""

    image_size, num_styles, style_dim = 8, 2, 3

    def __init__(self, *, rngs):
        self.scale = nnx.Param(jnp.zeros(()))

    def __call__(self, images):
        factors = self.scale[...] * np.asarray([1.0, -2.0])
        return images.mean(axis=(1, 2))[:, None, :] * factors[None, :, None]


class MeanClassifier(nnx.Module):
    """Two attributes."""

    def __init__(self, num_attributes, *, rngs):
        self.scale = nnx.Param(jnp.zeros(()))

    def attribute_probabilities(self, images):
        return self.scale[...] * images.mean(axis=(1, 2))[:, :2] ** 2


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder of pictures and two network files with stand-ins for their networks."""
    write_pictures(tmp_path / "faces", 8, size=8)
    for network in (MeanEncoder, MeanClassifier):
        name = network.__name__
        monkeypatch.setitem(networks.REGISTRY, name, f"{__name__}:{name}")
    networks.save_arrays(
        tmp_path / "encoder.safetensors", "MeanEncoder", {}, {"scale": np.ones(())}
    )
    _write_classifier(tmp_path, 1.0)
    return tmp_path


def _write_classifier(world, scale):
    networks.save_arrays(
        world / "classifier.safetensors",
        "MeanClassifier",
        {"num_attributes": 2},
        {"scale": np.asarray(scale)},
        notes={"attributes": "Male,Young"},
    )


@pytest.fixture
def passes(monkeypatch):
    """The sizes of the batches that pass through the networks, as they pass."""
    sizes = []
    original = face_latents._annotator

    def recording(*given):
        annotate = original(*given)

        def record(ids, images):
            sizes.append(len(images))
            return annotate(ids, images)

        return record

    monkeypatch.setattr(face_latents, "_annotator", recording)
    return sizes


@pytest.fixture
def loaded(monkeypatch):
    """The names of the network files whose weights are read, as they are."""
    names = []
    original = networks.load_network
    monkeypatch.setattr(
        networks, "load_network", lambda path: names.append(path.name) or original(path)
    )
    return names


class Breaking(ImageFolder):
    """Is killed before its third batch of two training faces."""

    def split(self, split):
        for number, batch in enumerate(super().split(split)):
            if number == 2:
                raise KeyboardInterrupt
            yield batch


def _prepare(world, splits=None, *, folder=ImageFolder, data="data", **changes):
    source = folder(world / "faces", splits or SPLITS, image_size=8, batch_size=2)
    settings = {
        "description": source.describe(FileDigests(world / data)),
        "inversion_encoder": world / "encoder.safetensors",
        "classifier": world / "classifier.safetensors",
        "batch_size": 3,
    }
    return face_latents.prepare(world / data, source, **{**settings, **changes})


def _content(dataset):
    """Everything that is stored; the bytes of equal record files differ."""
    splits = {split: face_latents.open_split(dataset, split) for split in SPLITS}
    return {
        (split, place, key): np.asarray(value).tolist()
        for split, faces in splits.items()
        for place in range(len(faces))
        for key, value in faces[place].items()
    }


def _kept(world):
    """The files that a build has left for the next one."""
    return sorted((world / "data").glob("annotated-*/t*"))


def test_faces_are_stored_with_what_the_networks_say(world):
    dataset = _prepare(world)
    recipe = face_latents.read_recipe(dataset)
    assert recipe["attributes"] == ["Male", "Young"] and recipe["latent_shape"] == [2, 3]
    for split, (first, stop) in SPLITS.items():
        faces = face_latents.open_split(dataset, split)
        _, images = next(
            iter(ImageFolder(world / "faces", {split: (first, stop)}, image_size=8).split(split))
        )
        assert len(faces) == stop - first
        for place in range(len(faces)):
            face = faces[place]
            mean = (images[place] / 127.5 - 1.0).mean(axis=(0, 1))
            assert face["face_id"] == first + place
            np.testing.assert_array_equal(face["image"], images[place])
            np.testing.assert_allclose(face["w_plus"], [mean, -2 * mean], atol=1e-6)
            np.testing.assert_allclose(face["predictions"], mean[:2] ** 2, atol=1e-6)
            assert face["w_plus"].dtype == face["predictions"].dtype == np.float32


def test_finished_data_set_is_reused_and_another_recipe_makes_another(world):
    dataset = _prepare(world)
    times = {file: file.stat().st_mtime_ns for file in dataset.iterdir()}
    assert _prepare(world) == dataset
    assert {file: file.stat().st_mtime_ns for file in dataset.iterdir()} == times

    assert _prepare(world, splits={"train": (0, 4)}) != dataset
    _write_classifier(world, 2.0)
    assert _prepare(world) != dataset


def test_finished_data_set_is_found_without_reading_weights(world, passes, loaded):
    dataset = _prepare(world)
    assert sorted(loaded) == ["classifier.safetensors", "encoder.safetensors"] and passes
    del loaded[:], passes[:]
    assert _prepare(world) == dataset
    assert not loaded and not passes


def test_a_build_leaves_nothing_among_the_temporary_files(world, tmp_path_factory, monkeypatch):
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    _prepare(world)
    assert not list(temporary.iterdir())


def test_interrupted_build_leaves_no_data_set(world):
    under_construction = []

    class Watched(Breaking):
        def split(self, split):
            try:
                yield from super().split(split)
            finally:
                under_construction.extend((world / "data").glob("*/*/*incomplete*"))

    with pytest.raises(KeyboardInterrupt):
        _prepare(world, folder=Watched, batch_size=2)
    assert not list((world / "data").rglob("dataset_info.json"))
    (leftover,) = under_construction  # which a kill that python does not notice leaves as it is
    assert not leftover.exists()
    leftover.mkdir()
    assert len(face_latents.open_split(_prepare(world), "train")) == 5
    assert not leftover.exists()


@pytest.mark.parametrize("where", ["source", "networks"])
def test_killed_build_continues_to_the_same_data_set(world, passes, monkeypatch, where):
    whole = _content(_prepare(world, data="elsewhere", batch_size=2))
    assert passes == [2] * 5  # three batches of training faces and two of test faces
    del passes[:]
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        if where == "source":
            _prepare(world, folder=Breaking, batch_size=2)
        else:
            patch.setattr(face_latents, "_annotator", _killed_at(3, face_latents._annotator))
            _prepare(world, batch_size=2)
    # The batch before the one at which it was killed was still being computed.
    assert [file.name for file in _kept(world)] == ["train-000000"] and passes == [2] * 2
    del passes[:]
    dataset = _prepare(world, batch_size=2)
    assert passes == [2] * 4
    assert _content(dataset) == whole
    assert not list(dataset.parents[2].glob("annotated-*"))


def _killed_at(call, annotator):
    def dying_annotator(*given):
        annotate = annotator(*given)
        calls = []

        def annotate_or_die(ids, images):
            calls.append(len(images))
            if len(calls) == call:
                raise KeyboardInterrupt
            return annotate(ids, images)

        return annotate_or_die

    return dying_annotator


@pytest.fixture
def annotated(world, monkeypatch):
    """A build that was killed when all its faces had passed through the networks; its content."""
    with monkeypatch.context() as patch:
        patch.setattr(AnnotationCache, "remove", lambda self: None)
        dataset = _prepare(world)
    content = _content(dataset)
    shutil.rmtree(dataset)
    assert [file.name for file in _kept(world)] == ["test-000000", "train-000000", "train-000001"]
    return content


def test_build_that_has_all_its_batches_needs_no_network(world, annotated, passes, loaded):
    dataset = _prepare(world)
    assert _content(dataset) == annotated and not passes and not loaded
    assert not _kept(world)


def test_kill_after_the_last_face_leaves_nothing_behind(world, annotated, monkeypatch, passes):
    with monkeypatch.context() as patch:
        patch.setattr(AnnotationCache, "remove", lambda self: None)
        dataset = _prepare(world)
    assert len(_kept(world)) == 3
    assert _prepare(world) == dataset and not passes
    assert not list(dataset.parents[2].glob("annotated-*"))


@pytest.mark.parametrize("damage", ["cut", "emptied", "changed"])
def test_damaged_batch_is_computed_again(world, annotated, passes, damage):
    file = _kept(world)[1]
    content = bytearray(file.read_bytes())
    content[-300] ^= 1
    file.write_bytes({"cut": content[:-1], "emptied": b"", "changed": content}[damage])
    dataset = _prepare(world)
    assert passes == [3] and _content(dataset) == annotated


def test_batches_of_another_size_are_computed_again(world, annotated, passes):
    dataset = _prepare(world, batch_size=4)
    assert passes == [4] * 2  # the last batch holds the three test faces as before
    expected = _prepare(world, data="elsewhere", batch_size=4)
    assert _content(dataset) == _content(expected)


def test_replaced_picture_is_annotated_again(world, annotated, passes):
    (world / "faces" / "00004.png").unlink()
    shutil.copy(world / "faces" / "00000.png", world / "faces" / "00004.png")
    faces = face_latents.open_split(_prepare(world), "train")
    assert passes == [3]  # the batch of the training faces 3 and 4
    np.testing.assert_array_equal(faces[4]["w_plus"], faces[0]["w_plus"])


def test_unreadable_picture_does_not_cost_the_work_done(world, passes):
    last = world / "faces" / "00007.png"
    picture = last.read_bytes()
    last.write_bytes(b"no picture")
    with pytest.raises(DataError, match="00007.png: not a readable image"):
        _prepare(world)
    assert passes == [3] * 2 and len(_kept(world)) == 2
    last.write_bytes(picture)
    dataset = _prepare(world)
    assert passes == [3] * 3
    assert _content(dataset) == _content(_prepare(world, data="elsewhere"))


def test_source_that_breaks_its_promise_is_named(world):
    class Short(ImageFolder):
        def num_faces(self, split):
            return super().num_faces(split) + 1

    source = Short(world / "faces", {"train": (0, 4)}, image_size=8)
    with pytest.raises(DataError, match="announced 5 train faces and gave 4"):
        face_latents.prepare(
            world / "data",
            source,
            description=source.describe(FileDigests(world)),
            inversion_encoder=world / "encoder.safetensors",
            classifier=world / "classifier.safetensors",
        )


def test_recipes_of_folders_keep_their_names(world):
    """A data set that stands on a disk is found again by the name that its recipe has always had."""
    recipe = face_latents.read_recipe(_prepare(world))
    assert recipe.keys() == {
        *("source", "num_faces", "image_size", "latent_shape", "attributes", "networks")
    }
    assert recipe["source"].keys() == {"kind", "splits", "image_size", "content"}
    assert recipe["networks"].keys() == {"inversion_encoder", "classifier"}


def test_missing_split_is_named(world):
    dataset = _prepare(world)
    with pytest.raises(DataError, match="no validation faces; it has"):
        face_latents.open_split(dataset, "validation")
    assert face_latents.held_out_split(dataset) == "test"


def test_fields_that_are_not_asked_for_are_neither_there_nor_decoded(world, monkeypatch):
    dataset = _prepare(world)
    whole = face_latents.open_split(dataset, "train")[1]

    def decode(*_):
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(tfds.features.Image, "decode_example_np", decode)
    with pytest.raises(AssertionError, match="was decoded"):
        face_latents.open_split(dataset, "train")[1]
    face = face_latents.open_split(dataset, "train", ("w_plus", "face_id"))[1]
    assert face.keys() == {"w_plus", "face_id"} and face["face_id"] == 1
    np.testing.assert_array_equal(face["w_plus"], whole["w_plus"])


def test_nothing_is_said_of_downloads(world, capsys):
    _prepare(world)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "train faces" in printed.err


def test_other_faces_under_the_same_names_make_another_data_set(world, capsys):
    dataset = _prepare(world)
    images = [face["image"] for face in _faces(dataset)]
    assert "again" not in capsys.readouterr().out
    pictures = sorted((world / "faces").iterdir())
    contents = [file.read_bytes() for file in pictures]
    for file, content in zip(pictures, contents[::-1], strict=True):
        file.write_bytes(content)
    other = _prepare(world)
    assert other != dataset and "again" not in capsys.readouterr().out
    np.testing.assert_array_equal(_faces(other)[0]["image"], images[-1])
    for file, content in zip(pictures, contents, strict=True):
        file.write_bytes(content)
    assert _prepare(world) == dataset
    assert capsys.readouterr().out == f"using the faces again that are in {dataset}\n"


def _faces(dataset):
    splits = [face_latents.open_split(dataset, split) for split in SPLITS]
    return [faces[place] for faces in splits for place in range(len(faces))]


def test_a_second_builder_is_refused_before_it_does_anything(world, passes):
    with (
        locked(world / "data", "building a data set"),
        pytest.raises(InUseError, match="data is in use: building a data set, process"),
    ):
        _prepare(world)
    assert not passes and not list((world / "data").rglob("dataset_info.json"))
    dataset = _prepare(world)
    with locked(world / "data", "building another"):
        assert _prepare(world) == dataset


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_full_disk_is_named_and_leaves_no_data_set(world, monkeypatch, capfd, is_kept):
    if not is_kept:
        monkeypatch.setattr(AnnotationCache, "save", lambda *_: None)
    with (
        full_disk(300),
        pytest.raises(OSError, match="(File too large: .*data)|(data.*: File too large$)"),
    ):
        _prepare(world)
    assert not list((world / "data").rglob("dataset_info.json"))
    assert not list((world / "data").rglob("*incomplete*"))
    assert not list((world / "data").rglob("*.partial"))
    assert len(face_latents.open_split(_prepare(world), "train")) == 5
