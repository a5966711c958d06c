import json
import os

import pytest

from sdflow_jax.data import file_digests
from sdflow_jax.data.file_digests import FileDigests
from sdflow_jax.data.image_source import DataError
from sdflow_jax.files.lock import locked


@pytest.fixture
def files(tmp_path):
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for file, content in zip(files, (b"one", b"two", b"one"), strict=True):
        file.write_bytes(content)
    return files


@pytest.fixture
def read(monkeypatch):
    """The names of the files that are read, as they are."""
    names = []
    original = file_digests._digest
    monkeypatch.setattr(
        file_digests, "_digest", lambda file: names.append(file.name) or original(file)
    )
    return names


@pytest.fixture
def settled(monkeypatch):
    monkeypatch.setattr(file_digests, "_SETTLED_AFTER_NS", -1)


def test_equal_content_has_equal_digests_and_is_read_once(files, tmp_path, read, settled):
    first = FileDigests(tmp_path / "data").of(files)
    assert first[0] == first[2] != first[1] and sorted(read) == ["a.png", "b.png", "c.png"]
    del read[:]
    assert FileDigests(tmp_path / "data").of(files[::-1]) == first[::-1] and not read


@pytest.mark.parametrize("keeps_time", [False, True])
def test_a_file_that_was_replaced_is_read_again(files, tmp_path, read, settled, keeps_time):
    before = FileDigests(tmp_path / "data").of(files)
    del read[:]
    status = files[0].stat()
    files[0].write_bytes(b"six")  # as long as it was
    if keeps_time:
        os.utime(files[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    after = FileDigests(tmp_path / "data").of(files)
    assert read == ["a.png"] and after[0] != before[0] and after[1:] == before[1:]


def test_a_file_written_a_moment_ago_is_not_trusted(files, tmp_path, read):
    FileDigests(tmp_path / "data").of(files)
    FileDigests(tmp_path / "data").of(files)
    assert len(read) == 2 * len(files)


@pytest.mark.parametrize("damage", ["", "[]", '{"a": 3}', '{"a": [1, 2, "x"]}'])
def test_damaged_digests_are_made_again(files, tmp_path, settled, damage):
    first = FileDigests(tmp_path / "data").of(files)
    kept = tmp_path / "data" / "digests" / "images.json"
    assert len(json.loads(kept.read_text())) == 3
    kept.write_text(damage)
    assert FileDigests(tmp_path / "data").of(files) == first


def test_digests_that_cannot_be_kept_are_still_right(files, tmp_path, capsys):
    (tmp_path / "data").write_text("in the way")
    assert len(set(FileDigests(tmp_path / "data").of(files))) == 2
    assert "images will be read again next time" in capsys.readouterr().err
    with locked(tmp_path / "other" / "digests", "keeping digests"):
        assert len(set(FileDigests(tmp_path / "other").of(files))) == 2


def test_a_file_that_is_not_there_is_named(files, tmp_path):
    files[1].unlink()
    with pytest.raises(DataError, match=r"b\.png: No such file"):
        FileDigests(tmp_path / "data").of(files)
