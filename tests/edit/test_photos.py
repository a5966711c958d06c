import os
import subprocess
import sys

import numpy as np
import pytest
from jax.errors import JaxRuntimeError
from PIL import Image

from sdflow_jax.edit.__main__ import main
from sdflow_jax.edit.work import photos_of
from sdflow_jax.editor import Editor
from tests.exported_run import SIZE
from tests.full_disk import full_disk

PIXELS = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def run(workdir, editor, monkeypatch):
    """The command line on a run, whose networks are loaded and compiled once."""
    monkeypatch.setattr(Editor, "from_workdir", classmethod(lambda cls, *_, **__: editor))
    return lambda *words: main([*map(str, words), "--workdir", str(workdir)])


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, pixels in zip(("ada.png", "bob.webp"), PIXELS, strict=True):
        Image.fromarray(pixels).save(folder / name, lossless=True)
    (folder / "._ada.png").write_bytes(b"hidden")
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_a_folder_of_photos_is_edited(run, editor, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(photos, "--set", "Young=1", "Eyeglasses=0.2", "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["ada.png", "bob.png"]
    expected = editor(photos / "bob.webp", {"Young": 1.0, "Eyeglasses": 0.2})
    np.testing.assert_array_equal(np.asarray(Image.open(out / "bob.png")), expected)
    assert f"2/2 {photos / 'bob.webp'} -> {out / 'bob.png'}" in capsys.readouterr().out


def test_a_strip_shows_the_photo_and_five_strengths(run, photos, tmp_path):
    out = tmp_path / "out"
    assert run(photos / "ada.png", "--strip", "Young", "--out", out, "--size", 16) == 0
    (strip,) = out.iterdir()
    assert strip.name == "ada-Young.png"
    width, height = Image.open(strip).size
    assert width > 6 * 96 and 96 < height < 2 * 96


def test_one_bad_photo_leaves_the_others(run, photos, tmp_path, capsys):
    (photos / "ada.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    assert run(photos, "--set", "Young=1", "--out", out) == 1
    assert [path.name for path in out.iterdir()] == ["bob.png"]
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith(f"error: {photos / 'ada.png'}: not a readable image")
    assert told[1:] == ["1 of 2 photos could not be edited"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "too large for this machine's memory; a smaller --size needs less"),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"), "too large for this machine's"),
        (JaxRuntimeError("INTERNAL: a device is gone\nmore"), "INTERNAL: a device is gone"),
    ],
)
def test_one_photo_that_is_too_much_leaves_the_others(
    run, editor, photos, tmp_path, capsys, monkeypatch, error, message
):
    invert, calls = Editor.invert, []

    def fail_once(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise error
        return invert(*arguments, **options)

    monkeypatch.setattr(Editor, "invert", fail_once)
    assert run(photos, "--set", "Young=1", "--num-steps", "1", "--out", tmp_path / "out") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bob.png"]
    told = capsys.readouterr().err
    assert f"error: {photos / 'ada.png'}: {message}" in told and "more" not in told


def test_names_that_are_no_text_are_edited(workdir, photos, tmp_path):
    try:
        (photos / "ada.png").rename(photos / os.fsdecode(b"ad\xe9.png"))
    except OSError:
        pytest.skip("this file system has no such names")
    command = [sys.executable, "-m", "sdflow_jax.edit", str(photos), "--set", "Young=1"]
    found = subprocess.run(
        [*command, f"--workdir={workdir}", f"--out={tmp_path / 'out'}"],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
    )
    assert found.returncode == 0, found.stderr
    assert len(list((tmp_path / "out").iterdir())) == 2 and rb"ad\udce9.png" in found.stdout


def test_photos_that_are_not_square_need_to_be_cropped(run, tmp_path, capsys):
    wide = np.concatenate([PIXELS[0], PIXELS[1][:, :5]], axis=1)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    words = (tmp_path / "wide.png", "--set", "Young=1", "--out", tmp_path / "out")
    assert run(*words) == 1
    assert "wide.png: 37 x 32 pixels; expected a square photo" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
    assert run(*words, "--crop") == 0
    assert (tmp_path / "out" / "wide.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--set", "Glasses=1"],
            "unknown attribute 'Glasses'; this editor knows Young, Eyeglasses",
        ),
        (["--strip", "Glasses"], "unknown attribute 'Glasses'"),
        (["--set", "Young=1", "--size", "48"], "--size must be one of 16, 32 for these networks"),
        ([], "nothing to do; give --set"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, photos, tmp_path, capsys, words, message):
    assert run(photos, "--out", tmp_path / "out", *words) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {message}") and told.count("\n") == 1


def test_no_photo_is_written_over(run, photos, tmp_path, capsys):
    (photos / "sub").mkdir()
    twin = photos / "sub" / "ada.jpg"
    Image.fromarray(PIXELS[0]).save(twin)
    assert run(photos, "--set", "Young=1", "--out", photos) == 1
    assert "ada.png is one of the photos" in capsys.readouterr().err
    assert run(photos, twin, "--set", "Young=1", "--out", tmp_path / "out") == 1
    assert "would both become" in capsys.readouterr().err


def test_no_photo_is_written_over_under_another_name(run, photos, tmp_path, capsys):
    # What a disk that does not tell A from a does with IMG_1.PNG and IMG_1.png.
    upper, lower = photos / "IMG_1.PNG", photos / "IMG_1.png"
    (photos / "ada.png").rename(upper)
    os.link(upper, lower)
    before = upper.read_bytes()
    assert run(upper, "--set", "Young=1", "--out", photos) == 1
    assert f"{lower} is one of the photos; choose another --out" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    lower.rename(tmp_path / "out" / "IMG_1.png")
    assert run(upper, "--set", "Young=1", "--out", tmp_path / "out") == 1
    assert "IMG_1.png is one of the photos" in capsys.readouterr().err
    assert upper.read_bytes() == before


def test_among_the_photos_nothing_is_written_over(run, photos, tmp_path, capsys):
    before = (photos / "ada.png").read_bytes()
    Image.fromarray(PIXELS[1]).save(photos / "ada.jpg")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "ada.jpg").symlink_to(photos / "ada.jpg")
    for photo in (photos / "ada.jpg", tmp_path / "elsewhere" / "ada.jpg"):
        assert run(photo, "--set", "Young=1", "--out", photos) == 1
        told = f"error: {photos / 'ada.png'} is there already, in a folder of the photos"
        assert capsys.readouterr().err == f"{told}; choose another --out\n"
    assert (photos / "ada.png").read_bytes() == before
    # What is not there can be written, and a folder of its own again and again.
    assert run(photos / "bob.webp", "--set", "Young=1", "--out", photos) == 0
    for _ in range(2):
        assert run(photos / "ada.jpg", "--set", "Young=1", "--out", photos / "edited") == 0


def test_what_no_edit_has_made_is_not_written_over(run, photos, tmp_path, capsys):
    out = tmp_path / "pictures"
    out.mkdir()
    other = out / "bob.png"
    Image.fromarray(PIXELS[0]).save(other)
    before = other.read_bytes()
    words = ("--set", "Young=1", "--out", out)
    assert run(photos, *words) == 1
    told = f"error: {other} is there already, and is no picture that this command has made"
    assert capsys.readouterr().err == f"{told}; choose another --out\n"
    assert other.read_bytes() == before and sorted(out.iterdir()) == [other]
    assert run(photos / "ada.png", *words) == 0 == run(photos / "ada.png", *words)
    with Image.open(out / "ada.png") as image:
        assert image.info["Comment"] == "edited with sdflow_jax"


def test_edits_of_one_name_on_a_disk_that_tells_no_case(run, photos, tmp_path, capsys, monkeypatch):
    def file_at(path):
        there = path.parent.iterdir() if path.parent.is_dir() else ()
        name = path.name.lower()
        return (path.parent, name) if name in {other.name.lower() for other in there} else None

    (photos / "sub").mkdir()
    second = photos / "sub" / "ADA.jpg"
    Image.fromarray(PIXELS[1]).save(second)
    monkeypatch.setattr("sdflow_jax.edit.work._file_at", file_at)
    out = tmp_path / "out"
    assert run(photos / "ada.png", second, "--set", "Young=1", "--out", out) == 1
    told = f"error: {photos / 'ada.png'} and {second} would both become {out / 'ADA.png'}"
    assert told in capsys.readouterr().err
    assert [file.name for file in out.iterdir()] == ["ada.png"]


def test_no_edit_is_written_over_by_another_photos_strip(run, photos, tmp_path, capsys):
    Image.fromarray(PIXELS[1]).save(photos / "ada-Young.png")
    words = (photos, "--set", "Eyeglasses=1", "--out", tmp_path / "out")
    assert run(*words, "--strip", "Young") == 1
    told = capsys.readouterr().err
    both = f"{photos / 'ada-Young.png'} and {photos / 'ada.png'} would both become"
    assert told == f"error: {both} {tmp_path / 'out' / 'ada-Young.png'}; rename one\n"
    assert run(*words) == 0
    assert run(photos / "ada.png", photos / "ada.png", *words[1:]) == 1
    assert capsys.readouterr().err == f"error: {photos / 'ada.png'} is given twice\n"


def test_photos_are_those_of_the_folders_and_the_files(photos, tmp_path, capsys):
    files = [photos / "bob.webp", photos / "ada.png"]
    assert photos_of(files) == files
    assert photos_of([photos]) == files[::-1]
    assert "1 .txt" in capsys.readouterr().out
    Image.fromarray(PIXELS[0]).save(photos / "cid.tif")
    for name in ("dan.HEIC", "notes.txt", ".hidden.png"):
        (photos / name).touch()
    assert photos_of([photos]) == [*files[::-1], photos / "cid.tif"]
    told = capsys.readouterr().out
    assert told == f"{photos}: 2 files of other kinds are passed over: 1 .heic, 1 .txt\n"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "dan.heic").touch()
    words = "empty: no picture that can be opened in this folder; 1 file of another kind is passed over: 1 .heic"
    with pytest.raises(ValueError, match=words):
        photos_of([tmp_path / "empty"])
    with pytest.raises(ValueError, match="gone: no such file or folder"):
        photos_of([tmp_path / "gone"])


@pytest.mark.parametrize("word", ["Young", "Young=", "Young=old", "=1", "Young=nan", "Young=1e39"])
def test_a_target_that_is_no_number_is_refused(run, photos, tmp_path, capsys, word):
    with pytest.raises(SystemExit):
        run(photos, "--out", tmp_path / "out", "--set", word)
    assert "expected ATTRIBUTE=NUMBER" in capsys.readouterr().err


def test_a_run_that_is_none_is_one_line(photos, tmp_path, capsys):
    words = [photos, "--set", "Young=1", "--out", tmp_path / "out", "--workdir", tmp_path / "gone"]
    assert main(list(map(str, words))) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "config.json" in told and told.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_one_line(run, photos, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert run(photos, "--set", "Young=1", "--out", tmp_path / "file") == 1
    assert capsys.readouterr().err.endswith("this is a file; name a folder\n")
    assert run(photos, "--set", "Young=1", "--out", tmp_path / "file" / "out") == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'file' / 'out'}: Not a directory\n"


def test_a_full_disk_is_one_line_that_names_the_picture(run, photos, tmp_path, capsys):
    out = tmp_path / "out"
    with full_disk(100):
        assert run(photos / "ada.png", "--set", "Young=1", "--out", out) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("error: ") and f"{out / 'ada.png'}: File too large" in told[0]
    assert told[1:] == ["1 of 1 photos could not be edited"] and not list(out.iterdir())
