import io
import tarfile
import zipfile

import numpy as np
import pytest

from sdflow_jax.align import photos
from sdflow_jax.align.geometry import AlignError
from sdflow_jax.align.photos import MAX_BYTES, PhotoError, open_photos


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    for name in ("c.JPG", "b/a.png", "b/z.webp", "notes.txt", ".hidden.png"):
        (folder / name).write_bytes(name.encode())
    (folder / ".git").mkdir()
    (folder / ".git" / "x.png").write_bytes(b"hidden as well")
    return folder


def contents(path):
    with open_photos(path) as source:
        return {photo.name: photo.read() for photo in source.photos}


def test_folder_zip_and_tar_are_the_same(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
        archive.writestr("__MACOSX/b/a.png", b"no photo")
    with tarfile.open(tmp_path / "p.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname=".")
    expected = {name: name.encode() for name in ("b/a.png", "b/z.webp", "c.JPG")}
    for path in (folder, tmp_path / "p.zip", tmp_path / "p.tar.gz"):
        assert contents(path) == expected


def test_the_stamp_changes_with_the_content(folder, tmp_path):
    def stamps(path):
        with open_photos(path) as source:
            return {photo.name: photo.stamp for photo in source.photos}

    before = stamps(folder)
    assert stamps(folder) == before
    (folder / "c.JPG").write_bytes(b"longer than it was")
    after = stamps(folder)
    assert {name for name in after if after[name] != before[name]} == {"c.JPG"}


OUTSIDE = {
    "../up.png": "../up.png",
    "a/../../up.png": "a/../../up.png",
    "/abs.png": "/abs.png",
    "C:/x.png": "C:/x.png",
    "C:\\x.png": "C:/x.png",
    "a\\..\\b.png": "a/../b.png",
    "\\\\server\\x.png": "//server/x.png",
}
USUAL = {
    "Screenshot at 9.41.00\u202fAM.png": None,  # as macOS names them
    "no\u00a0break.png": None,
    "\u3000.jpg": None,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467.png": None,  # a family, joined
    "a 12:30:45.jpg": None,
    "b\\c.png": "b/c.png",
}


def test_names_that_lead_out_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in (*OUTSIDE, "line\nbreak.png", "good.png"):
            archive.writestr(name, b"content")
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        for name in (*OUTSIDE, "line\nbreak.png", "good.png"):
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        second = tarfile.TarInfo("second.png")
        second.type, second.linkname = tarfile.LNKTYPE, "good.png"
        archive.addfile(second)
        later = tarfile.TarInfo("good.png")
        later.type, later.linkname = tarfile.SYMTYPE, "second.png"
        archive.addfile(later)  # and then again the file itself, as `tar -r` adds it
        archive.addfile(tarfile.TarInfo("good.png"))
    for path in (tmp_path / "p.zip", tmp_path / "p.tar"):
        with open_photos(path) as source:
            assert [photo.name for photo in source.photos] == ["good.png"]
            reasons = dict.fromkeys(OUTSIDE.values(), "the name leads out of the archive")
            reasons["line\nbreak.png"] = "the name holds control characters"
            if path.suffix == ".tar":
                linked = "a link to another entry; unpack the archive, and give the folder"
                reasons |= {"link.png": linked, "second.png": linked}
            assert source.refused == reasons


def test_unusual_names_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in USUAL:
            archive.writestr(name, b"content")
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        for name in USUAL:
            archive.addfile(tarfile.TarInfo(name))
    for path in (tmp_path / "p.zip", tmp_path / "p.tar"):
        with open_photos(path) as source:
            names = {photo.name for photo in source.photos}
        assert names == {plain or name for name, plain in USUAL.items()} and not source.refused


def test_damaged_entries_are_their_own_trouble(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("a.png", b"first content")
        archive.writestr("b.png", b"second content")
    content = (tmp_path / "p.zip").read_bytes().replace(b"first content", b"other content")
    (tmp_path / "p.zip").write_bytes(content)
    with open_photos(tmp_path / "p.zip") as source:
        first, second = source.photos
        with pytest.raises(PhotoError, match="Bad CRC"):
            first.read()
        assert second.read() == b"second content"


def test_a_tar_that_is_cut_short_gives_what_it_has(tmp_path):
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        for name in ("a.png", "b.png"):
            entry = tarfile.TarInfo(name)
            entry.size = 2000
            archive.addfile(entry, io.BytesIO(bytes(2000)))
    content = (tmp_path / "p.tar").read_bytes()
    (tmp_path / "p.tar").write_bytes(content[: 512 + 2048 + 512 + 700])
    with open_photos(tmp_path / "p.tar") as source:
        first, second = source.photos
        assert len(first.read()) == 2000
        with pytest.raises(PhotoError, match="unexpected end"):
            second.read()
        assert "cut short or damaged after 2 photos" in source.notes[0]


def test_damage_in_what_lzma_has_packed_is_told_as_other_damage(tmp_path):
    # Packed, unlike noise, so that damage is seen where it is.
    noise = np.random.default_rng(0).integers(0, 64, 200_000, dtype=np.uint8).tobytes()
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", noise)
        archive.writestr("b.png", b"second content")
    content = bytearray((tmp_path / "p.zip").read_bytes())
    content[40:60] = b"\xff" * 20  # the first entry's beginning
    (tmp_path / "p.zip").write_bytes(content)
    with open_photos(tmp_path / "p.zip") as source:
        first, second = source.photos
        with pytest.raises(PhotoError, match="cannot be read"):
            first.read()
        assert second.read() == b"second content"

    with tarfile.open(tmp_path / "p.tar.xz", "w:xz") as archive:
        for name in ("a.png", "b.png", "c.png"):
            entry = tarfile.TarInfo(name)
            entry.size = len(noise)
            archive.addfile(entry, io.BytesIO(noise))
    content = bytearray((tmp_path / "p.tar.xz").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 10] = b"\xff" * 10
    (tmp_path / "p.tar.xz").write_bytes(content)
    with open_photos(tmp_path / "p.tar.xz") as source:
        assert "cut short or damaged after 1 photos" in source.notes[0]
        with pytest.raises(PhotoError, match="cannot be read"):
            source.photos[0].read()


def test_links_are_followed_and_their_troubles_told(folder, tmp_path):
    (tmp_path / "elsewhere" / "more").mkdir(parents=True)
    (tmp_path / "elsewhere" / "more" / "d.png").write_bytes(b"behind a link")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "gone.png").symlink_to(tmp_path / "gone.png")
    with open_photos(folder) as source:
        photos = {photo.name: photo for photo in source.photos}
        assert photos["link/more/d.png"].read() == b"behind a link" and len(photos) == 5
        with pytest.raises(PhotoError, match="cannot be read .No such file"):
            photos["gone.png"].read()
    (tmp_path / "elsewhere" / "more" / "back").symlink_to(folder)
    with pytest.raises(AlignError, match="more/back: this link leads back"), open_photos(folder):
        pass


def test_what_can_be_opened_is_taken_and_the_rest_counted(tmp_path):
    taken = ["a.JFIF", "b.tif", "c.tiff", "d.bmp", "e.png"]
    others = ["f.heic", "g.HEIC", "h.mov", "i", "j. And so on", ".hidden", "__MACOSX/k.mov"]
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in (*taken, *others):
            archive.writestr(name, b"content")
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        for name in (*taken, *others):
            archive.addfile(tarfile.TarInfo(name))
    (tmp_path / "folder" / "__MACOSX").mkdir(parents=True)
    for name in (*taken, *others):
        (tmp_path / "folder" / name).write_bytes(b"content")
    for name in ("p.zip", "p.tar", "folder"):
        with open_photos(tmp_path / name) as source:
            assert [photo.name for photo in source.photos] == taken
            (note,) = source.notes
        assert note == "5 files of other kinds are passed over: 2 .heic, 2 other, 1 .mov"
    for name in taken:
        (tmp_path / "folder" / name).unlink()
    with (
        pytest.raises(AlignError, match="no picture that can be opened in it; 5 files of other"),
        open_photos(tmp_path / "folder"),
    ):
        pass


def test_what_is_no_photo_by_its_size_is_not_read(tmp_path, monkeypatch):
    assert MAX_BYTES >= 2**29
    monkeypatch.setattr(photos, "MAX_BYTES", 5)
    (tmp_path / "a.png").write_bytes(b"longer")
    with open_photos(tmp_path) as source, pytest.raises(PhotoError, match="6 bytes are no photo"):
        source.photos[0].read()


def test_no_photos_are_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"PK is no archive yet")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("gone", "no such folder or file"),
        ("file", "expected a folder, a zip or a tar"),
        ("empty", "empty: no picture that can be opened in it$"),
    ):
        with pytest.raises(AlignError, match=message), open_photos(tmp_path / name):
            pass
