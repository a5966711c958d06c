import io
import tarfile
import zipfile

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


EVIL = ("../up.png", "a/../../up.png", "/abs.png", "C:/x.png", "a\\..\\b.png", "line\nbreak.png")


def test_names_that_lead_out_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in (*EVIL, "good.png"):
            archive.writestr(name, b"content")
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        for name in (*EVIL, "good.png"):
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    for path in (tmp_path / "p.zip", tmp_path / "p.tar"):
        with open_photos(path) as source:
            assert [photo.name for photo in source.photos] == ["good.png"]
            assert sorted(source.refused) == sorted(EVIL)


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
        ("empty", "no PNG, JPEG or WebP file"),
    ):
        with pytest.raises(AlignError, match=message), open_photos(tmp_path / name):
            pass
