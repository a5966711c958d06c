import errno
import json
import os

import pytest

from sdflow_jax.files import atomic
from sdflow_jax.files.atomic import write_atomic, write_json
from tests.full_disk import full_disk


def test_a_file_is_the_old_one_or_the_whole_new_one(tmp_path):
    path = tmp_path / "below" / "notes.json"
    write_json(path, {"a": 1.5, "b": None})

    def write_half(stream):
        stream.write(b'{"a": ')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, write_half)
    assert json.loads(path.read_text()) == {"a": 1.5, "b": None}
    write_atomic(path, lambda stream: stream.write(b"{}"))
    assert path.read_bytes() == b"{}"
    assert [file.name for file in path.parent.iterdir()] == ["notes.json"]


def test_two_who_write_one_file_do_not_mix(tmp_path):
    path = tmp_path / "notes"

    def write(stream):
        stream.write(b"first, ")
        stream.flush()
        write_atomic(path, lambda other: other.write(b"second"))
        assert path.read_bytes() == b"second"
        stream.write(b"and last")

    write_atomic(path, write)
    assert path.read_bytes() == b"first, and last"
    assert [file.name for file in tmp_path.iterdir()] == ["notes"]


def test_what_a_kill_left_goes_with_a_later_write(tmp_path):
    (tmp_path / "notes.partial").write_bytes(b"half of what was longer")
    write_atomic(tmp_path / "notes", lambda stream: stream.write(b"whole"))
    assert (tmp_path / "notes").read_bytes() == b"whole"
    assert [file.name for file in tmp_path.iterdir()] == ["notes"]


@pytest.mark.parametrize("why", ["no module", "no locks"])
def test_without_locks_files_are_written_all_the_same(tmp_path, monkeypatch, why):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def interrupt(_):
        raise KeyboardInterrupt

    if why == "no module":
        monkeypatch.setattr(atomic, "fcntl", None)
    else:
        monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    for text in (b"one", b"two"):
        write_atomic(tmp_path / "notes", lambda stream, text=text: stream.write(text))
        assert (tmp_path / "notes").read_bytes() == text
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "notes", interrupt)
    assert [file.name for file in tmp_path.iterdir()] == ["notes"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_is_strict(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "notes.json", {"a": value})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path):
    path = tmp_path / "below" / "arrays.bin"
    write_atomic(path, lambda stream: stream.write(b"old"))
    with full_disk(), pytest.raises(OSError, match=r"File too large: .*below/arrays\.bin'"):
        write_atomic(path, lambda stream: stream.write(bytes(5000)))
    assert path.read_bytes() == b"old"

    def meet_the_end(stream):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"No space left on device: .*arrays\.bin'") as caught:
        write_atomic(path, meet_the_end)
    assert caught.value.errno == errno.ENOSPC
    assert [file.name for file in path.parent.iterdir()] == ["arrays.bin"]


def test_an_error_that_names_its_file_keeps_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="source"):
        write_atomic(tmp_path / "copy", lambda stream: (tmp_path / "source").read_bytes())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotADirectoryError, match="file/below"):
        write_json(tmp_path / "file" / "below" / "notes.json", {})
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
