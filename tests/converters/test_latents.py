"""What SDFlow's authors and StyleFlow's distribute, as files of latents."""

import numpy as np
import pytest

from converters.errors import CheckpointError
from converters.latents import import_latents, main, read_index
from sdflow_jax.data.latents_file import LatentsFile
from sdflow_jax.files.attribute_names import CELEBA_ATTRIBUTES
from tests.converters.checkpoint_writer import write_checkpoint

RANDOM = np.random.default_rng(0)
LATENTS = RANDOM.standard_normal((5, 3, 4)).astype(np.float32)
# As the original classifier: forty decisions, and how many of six ages are exceeded.
PREDICTIONS = np.concatenate(
    [RANDOM.integers(0, 2, (5, 40)), RANDOM.integers(2, 7, (5, 1))], axis=1
).astype(np.float32)
INDEX = "path,split\n00000.png,False\n00003.png,True\n00001.png,False\n00004.png,False\n"


def quiet(*files, **given):
    import_latents(*files, report=lambda line: None, **given)


@pytest.fixture
def sdflow(tmp_path):
    write_checkpoint(tmp_path / "ffhq_e4e_latents.pth", LATENTS)
    write_checkpoint(tmp_path / "ffhq_e4e_preds.pth", PREDICTIONS)
    (tmp_path / "ffhq.txt").write_text(INDEX)
    return tmp_path


def test_files_of_sdflow_are_joined_by_the_numbers_of_the_pictures(sdflow, capsys):
    out = sdflow / "ffhq.safetensors"
    words = [sdflow / "ffhq_e4e_latents.pth", "--predictions", sdflow / "ffhq_e4e_preds.pth"]
    words += ["--index", sdflow / "ffhq.txt", "--out", out]
    assert main(list(map(str, words))) == 0
    told = capsys.readouterr().out
    assert "hard decisions of 40 attributes" in told and "3 faces to train, 1 to test" in told
    file = LatentsFile(out)
    assert file.attributes == CELEBA_ATTRIBUTES and file.latent_shape == (3, 4)
    assert file.pictures == ["00000.png", "00003.png", "00001.png", "00004.png"]
    assert file.split("train").tolist() == [0, 2, 3] and file.split("test").tolist() == [1]
    assert file.split("validation").size == 0
    np.testing.assert_array_equal(file.latents(np.array([1, 3])), LATENTS[[3, 4]])
    np.testing.assert_array_equal(file.predictions(np.array([1])), PREDICTIONS[[3], :40])
    assert main(list(map(str, words))) == 1
    assert "exists; choose another --out" in capsys.readouterr().err


def test_lists_of_tensors_are_read_as_one(tmp_path):
    write_checkpoint(tmp_path / "list.pth", [face[None] for face in LATENTS])
    quiet(tmp_path / "list.pth", tmp_path / "out")
    file = LatentsFile(tmp_path / "out")
    assert not file.has_splits and not file.attributes and not file.pictures
    np.testing.assert_array_equal(file.latents(np.arange(5)), LATENTS)


def test_arrays_of_styleflow_are_one_row_and_the_columns_that_are_named(tmp_path):
    w = RANDOM.standard_normal((6, 1, 1, 4)).astype(np.float32)
    np.save(tmp_path / "latents.npy", np.repeat(w, 3, axis=2))
    attributes = RANDOM.random((6, 8, 1, 1))
    attributes[:, 2] *= 20  # degrees
    np.save(tmp_path / "attributes.npy", attributes)
    columns = ("-", "Eyeglasses", "-", "-", "Bald", "-", "-", "Smiling")
    files = {"predictions": tmp_path / "attributes.npy"}
    quiet(tmp_path / "latents.npy", tmp_path / "out", **files, columns=columns)
    file = LatentsFile(tmp_path / "out")
    assert file.latent_shape == (1, 4) and file.attributes == ("Eyeglasses", "Bald", "Smiling")
    np.testing.assert_array_equal(file.latents(np.arange(6)), w[:, 0])
    np.testing.assert_allclose(file.predictions(np.arange(6)), attributes[:, [1, 4, 7], 0, 0])
    with pytest.raises(CheckpointError, match="the 8 columns are not CelebA's"):
        quiet(tmp_path / "latents.npy", tmp_path / "out", **files)
    with pytest.raises(CheckpointError, match="Yaw must be in .0, 1., and is from"):
        columns = ("-", "-", "Yaw", *5 * "-")
        quiet(tmp_path / "latents.npy", tmp_path / "out", **files, columns=columns)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,split\n", "no column path"),
        ("path\n00000.png\n", "no column split"),
        ("path,split\nface.png,0\n", "line 2: expected a picture NUMBER.png"),
        ("path,split\n00000.png,maybe\n", "got '00000.png' and 'maybe'"),
        ("path,split\n0.png,0\n00.png,0\n", "listed twice"),
        ("path,split\n0.png,1\n", "no picture is for training"),
    ],
)
def test_what_is_no_index_is_told(tmp_path, text, message):
    (tmp_path / "ffhq.txt").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_index(tmp_path / "ffhq.txt")


def test_an_index_may_have_other_columns_and_windows_line_ends(tmp_path):
    (tmp_path / "ffhq.txt").write_bytes(b"age,path,split\r\n31,00002.png,1\r\n5,00001.png,0\r\n")
    index = read_index(tmp_path / "ffhq.txt")
    assert index.pictures == ("00002.png", "00001.png")
    assert index.places.tolist() == [2, 1] and index.is_test.tolist() == [True, False]


def test_files_that_do_not_fit_are_told(sdflow):
    latents, out = sdflow / "ffhq_e4e_latents.pth", sdflow / "out"
    (sdflow / "ffhq.txt").write_text("path,split\n00005.png,0\n")
    with pytest.raises(CheckpointError, match="00005.png asks for latent 5, .* has 5"):
        quiet(latents, out, index=sdflow / "ffhq.txt")
    write_checkpoint(sdflow / "fewer.pth", PREDICTIONS[:3])
    with pytest.raises(CheckpointError, match="expected predictions of 5 faces"):
        quiet(latents, out, predictions=sdflow / "fewer.pth")
    with pytest.raises(CheckpointError, match="expected latents"):
        quiet(sdflow / "fewer.pth", out)
    write_checkpoint(sdflow / "state.pth", {"weight": LATENTS})
    with pytest.raises(CheckpointError, match="expected one tensor or a list, got dict"):
        quiet(sdflow / "state.pth", out)
    broken = LATENTS.copy()
    broken[3, 0, 0] = np.nan
    write_checkpoint(sdflow / "nan.pth", broken)
    with pytest.raises(CheckpointError, match="latents of face 3 are NaN"):
        quiet(sdflow / "nan.pth", out)
    with pytest.raises(CheckpointError, match="gone.pth: cannot be read"):
        quiet(sdflow / "gone.pth", out)
    assert not out.exists()
