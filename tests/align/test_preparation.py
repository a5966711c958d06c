import csv
import errno
import json
import os
import pathlib
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from sdflow_jax.align import __main__ as align_command
from sdflow_jax.align import preparation
from sdflow_jax.align.__main__ import main
from sdflow_jax.align.cutting import cut_face
from sdflow_jax.align.faces import PhotoFace
from sdflow_jax.data.image_folder import image_files
from sdflow_jax.images.reading import read_image
from tests.align.marked_faces import mark, smooth_photo, upright

ROOT = pathlib.Path(__file__).parents[2]
MARKS = "tests.align.marked_faces:MarkedFaces"
SLOW = "tests.align.marked_faces:SlowMarkedFaces"


@pytest.fixture
def photos(tmp_path):
    """One face, two faces in a turned file, a tiny one, none, and two broken files."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    plain = smooth_photo()
    Image.fromarray(mark(plain, 0, upright(30, 25))).save(folder / "one.png")
    two = mark(mark(plain, 0, upright(50, 25)), 1, upright(15, 20))
    turned = Image.fromarray(two).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned back
    turned.save(folder / "sub" / "two.png", exif=exif)
    Image.fromarray(mark(plain, 0, upright(30, 25, 2))).save(folder / "tiny.png")
    Image.fromarray(plain).save(folder / "none.png")
    (folder / "text.png").write_text("no picture")
    content = (folder / "one.png").read_bytes()
    (folder / "half.png").write_bytes(content[: len(content) // 2])
    return folder


def words(photos, out, finder=MARKS):
    return [str(photos), "--out", str(out), "--size", "32", "--smallest", "16", "--finder", finder]


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def report(folder):
    with (folder / "report.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_all_faces_are_aligned_and_all_else_is_listed(photos, tmp_path, capsys):
    out = tmp_path / "faces"
    assert main(words(photos, out)) == 0
    told = capsys.readouterr().out
    assert "6 photos" in told and "3 faces of 6 photos; 1 photos without a face" in told
    names = ["one.png-1.png", "sub/two.png-1.png", "sub/two.png-2.png"]
    assert [f.relative_to(out).as_posix() for f in image_files(out)] == names
    results = [(row["photo"], row["face"], row["result"]) for row in report(out)]
    assert results == [
        ("half.png", "", "unreadable"),
        ("none.png", "", "no face"),
        ("one.png", "1", "aligned"),
        ("sub/two.png", "1", "aligned"),
        ("sub/two.png", "2", "aligned"),
        ("text.png", "", "unreadable"),
        ("tiny.png", "1", "too small"),
    ]


def test_the_place_beside_a_face_says_where_it_was(photos, tmp_path):
    out = tmp_path / "faces"
    main(words(photos, out))
    values = json.loads((out / "sub" / "two.png-1.json").read_text())
    place = PhotoFace.from_json(values)
    assert values["photo"] == "sub/two.png" and place.photo_size == (80, 60)
    # Faces are counted from the left; eyes at (15, 20) and (20, 20), the mouth 5 below.
    assert place.square.side == pytest.approx(20) and place.square.center == pytest.approx(
        (17.5, 20.5)
    )
    cut = cut_face(read_image(photos / "sub" / "two.png"), place.square, 32)
    np.testing.assert_array_equal(cut, read_image(out / "sub" / "two.png-1.png"))


def test_what_is_done_is_not_done_again(photos, tmp_path, capsys):
    out = tmp_path / "faces"
    main(words(photos, out))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png-*.png")}
    (out / "one.png-1.png").unlink()  # somebody did not want it
    Image.fromarray(mark(smooth_photo(), 0, upright(20, 20))).save(photos / "sub" / "two.png")
    Image.fromarray(mark(smooth_photo(), 0, upright(20, 20))).save(photos / "text.png")
    capsys.readouterr()
    assert main(words(photos, out)) == 0
    assert "6 photos, 3 of them done before" in capsys.readouterr().out
    assert not (out / "one.png-1.png").exists()
    # The photo that has changed lost a face; the one that was broken has one now.
    assert not (out / "sub" / "two.png-2.png").exists()
    assert not (out / "sub" / "two.png-2.json").exists()
    assert (out / "sub" / "two.png-1.png").stat().st_mtime_ns not in before.values()
    assert (out / "text.png-1.png").exists()
    assert {row["photo"] for row in report(out) if row["result"] == "aligned"} == {
        "one.png",
        "sub/two.png",
        "text.png",
    }


def test_photos_that_cannot_be_read_for_a_time_keep_their_faces(photos, tmp_path, capsys):
    out, disk = tmp_path / "faces", tmp_path / "disk"
    (photos / "sub").rename(disk)
    (photos / "two.png").symlink_to(disk / "two.png")
    assert main(words(photos, out)) == 0
    whole = files(out)
    (out / "two.png-1.png").unlink()  # somebody did not want it
    disk.rename(tmp_path / "elsewhere")
    capsys.readouterr()
    assert main(words(photos, out)) == 0
    assert "3 photos that cannot be read" in capsys.readouterr().out
    assert (out / "two.png-2.png").read_bytes() == whole["two.png-2.png"]
    assert ("two.png", "unreadable") in [(row["photo"], row["result"]) for row in report(out)]
    (tmp_path / "elsewhere").rename(disk)
    assert main(words(photos, out)) == 0
    assert "2 photos that cannot be read" in capsys.readouterr().out
    assert not (out / "two.png-1.png").exists()


def test_faces_of_photos_that_are_gone_are_told(photos, tmp_path, capsys):
    out = tmp_path / "faces"
    main(words(photos, out))
    (photos / "sub" / "two.png").unlink()
    capsys.readouterr()
    assert main(words(photos, out)) == 0
    told = capsys.readouterr().out
    assert "1 faces of 5 photos" in told and "2 faces left of photos that are gone" in told
    left = {row["file"] for row in report(out) if row["result"] == "photo gone"}
    assert left == {"sub/two.png-1.png", "sub/two.png-2.png"}
    for name in left:
        (out / name).unlink()
    main(words(photos, out))
    assert "gone" not in capsys.readouterr().out


def test_a_killed_preparation_is_alone_and_goes_on(photos, tmp_path, capsys):
    whole, out = tmp_path / "whole", tmp_path / "faces"
    main(words(photos, whole, SLOW))
    command = [sys.executable, "-m", "sdflow_jax.align", *words(photos, out, SLOW), "--jobs", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        journal, end = out / "photos.jsonl", time.monotonic() + 60
        while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
            assert child.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        capsys.readouterr()
        assert main(words(photos, out, SLOW)) == 1
        told = capsys.readouterr().err
        assert told.startswith(f"error: {out} is in use: aligning faces, process {child.pid}")
        assert told.count("\n") == 1
    finally:
        child.kill()
        child.wait()
    with (out / "photos.jsonl").open("ab") as stream:
        stream.write(b'{"photo": "cut by the ki')
    assert main(words(photos, out, SLOW)) == 0
    assert "of them done before" in capsys.readouterr().out
    left, right = files(out), files(whole)
    for name in ("photos.jsonl",):  # broken photos are tried again, and stand there twice
        del left[name], right[name]
    assert left == right


def test_a_name_that_the_disk_does_not_take_is_one_photos_trouble(photos, tmp_path):
    content = (photos / "one.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in ("one.png-1.png/inside.png", "one.png", "two.png", f"{'n' * 250}.png"):
            archive.writestr(name, content)
    out = tmp_path / "faces"
    assert main(words(tmp_path / "photos.zip", out)) == 0
    results = {row["photo"]: (row["result"], row["detail"]) for row in report(out)}
    assert results.pop("two.png")[0] == "aligned"
    # Which of the two that are in each other's way comes first is no matter.
    assert sorted(result for result, _ in results.values()) == ["aligned"] + ["unreadable"] * 2
    assert "cannot be written under its name" in results[f"{'n' * 250}.png"][1]


def test_the_command_loads_neither_jax_nor_dlib_before_it_needs_them():
    code = "import sys, sdflow_jax.align.__main__; print(*{'jax', 'dlib'} & {*sys.modules})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.stdout == "\n" and not result.stderr


def test_another_source_or_other_settings_are_refused(photos, tmp_path, capsys):
    out = tmp_path / "faces"
    main(words(photos, out))
    before = files(out)
    photos.rename(tmp_path / "others")
    assert main(words(tmp_path / "others", out)) == 1
    assert "holds faces of source 'photos', and this asks for 'others'" in capsys.readouterr().err
    (tmp_path / "others").rename(photos)
    assert main([*words(photos, out), "--size", "64"]) == 1
    assert "holds faces of size 32, and this asks for 64" in capsys.readouterr().err
    assert main(words(photos, photos / "faces")) == 1
    assert "lies in the folder of the photos" in capsys.readouterr().err
    assert files(out) == before
    (out / "photos.jsonl").write_text("something else\n")
    assert main(words(photos, out)) == 1
    assert "no journal of aligned photos" in capsys.readouterr().err


def test_photos_are_known_by_where_they_are(photos, tmp_path, capsys):
    out = tmp_path / "faces"
    main(words(photos, out))
    before = files(out)
    # Another disk with a folder of the same name, and photos of the same names.
    other = tmp_path / "disk" / "photos"
    (other / "sub").mkdir(parents=True)
    for name in ("one.png", "sub/two.png"):
        Image.fromarray(mark(smooth_photo(70, 90), 0, upright(20, 20))).save(other / name)
    capsys.readouterr()
    told = f"error: {out} holds faces of the photos in {photos}, and this asks for those in {other}"
    assert main(words(other, out)) == 1
    assert capsys.readouterr().err == f"{told}; choose another --out\n"
    # The first disk is taken out.
    photos.rename(tmp_path / "kept")
    assert main(words(other, out)) == 1
    assert capsys.readouterr().err.startswith(told)
    assert files(out) == before
    # The photos move, to a disk that knows times less well.
    moved = tmp_path / "moved" / "photos"
    moved.parent.mkdir()
    (tmp_path / "kept").rename(moved)
    os.utime(moved / "none.png", (0, 0))
    assert main(words(moved, out)) == 0
    assert "6 photos, 3 of them done before" in capsys.readouterr().out
    # And now are there, whoever comes to their old place.
    other.rename(photos)
    assert main(words(photos, out)) == 1
    assert f"holds faces of the photos in {moved}" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(moved.parent)
    assert main(words(tmp_path / "link" / "photos", out)) == 0
    faces = {name: content for name, content in files(out).items() if name.endswith(".png")}
    assert faces == {name: content for name, content in before.items() if name.endswith(".png")}


def test_journals_from_before_places_were_kept_go_on(photos, tmp_path, capsys):
    out = tmp_path / "faces"
    main(words(photos, out))
    first, _, rest = (out / "photos.jsonl").read_text().partition("\n")
    header = json.loads(first)
    assert header.pop("path") == str(photos)
    (out / "photos.jsonl").write_text(json.dumps(header) + "\n" + rest)
    assert main(words(photos, out)) == 0
    assert "6 photos, 4 of them done before" in capsys.readouterr().out
    assert json.loads((out / "photos.jsonl").read_text().partition("\n")[0]) == json.loads(first)


def test_faces_are_not_written_among_photos_behind_a_link(photos, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (photos / "one.png").rename(tmp_path / "elsewhere" / "one.png")
    (photos / "link").symlink_to(tmp_path / "elsewhere")
    assert main(words(photos, tmp_path / "elsewhere" / "faces")) == 1
    assert "lies in the folder of the photos" in capsys.readouterr().err
    assert main(words(photos, tmp_path / "faces")) == 0
    assert (tmp_path / "faces" / "link" / "one.png-1.png").exists()


def test_refused_names_are_reported_with_their_reasons(photos, tmp_path, capsys):
    content = (photos / "one.png").read_bytes()
    usual = "Bild 12:30:45\u202fPM.png"
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in ("../up.png", "line\nbreak.png", usual):
            archive.writestr(name, content)
        archive.writestr("clip.mov", b"no photo")
    out = tmp_path / "faces"
    assert main(words(tmp_path / "photos.zip", out)) == 0
    assert "note: 1 file of another kind is passed over: 1 .mov\n" in capsys.readouterr().err
    details = {row["photo"]: row["detail"] for row in report(out) if row["result"] == "refused"}
    assert details == {
        "../up.png": "the name leads out of the archive",
        "line\nbreak.png": "the name holds control characters",
    }
    assert (out / f"{usual}-1.png").exists()


def test_as_many_photos_are_in_work_as_there_are_cores_to_use(monkeypatch):
    monkeypatch.setattr(align_command, "own_cores", lambda: {0, 3, 5})
    arguments = align_command._parser().parse_args(["photos", "--out", "faces"])
    assert arguments.jobs == 3


def test_a_full_disk_is_one_line_and_loses_nothing(photos, tmp_path, capsys, monkeypatch):
    def full(path, pixels):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    out = tmp_path / "faces"
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "write_png", full)
        assert main(words(photos, out)) == 1
    told = capsys.readouterr().err
    assert told.endswith("No space left on device; the same command continues\n")
    assert main(words(photos, out)) == 0
    assert len(image_files(out)) == 3


def test_a_finder_that_fails_or_is_unknown_is_told(photos, tmp_path, capsys):
    assert main(words(photos, tmp_path / "a", "tests.align.marked_faces:FailingFinder")) == 0
    assert {row["result"] for row in report(tmp_path / "a")} == {"unreadable"}
    assert "no photo pleases it" in (tmp_path / "a" / "report.csv").read_text()
    for name, message in (("dllib", "unknown face finder"), ("tests:Gone", "cannot be loaded")):
        assert main(words(photos, tmp_path / "b", name)) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
