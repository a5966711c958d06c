import errno
import os
import signal
import subprocess
import sys

import pytest

from sdflow_jax.files import lock
from sdflow_jax.files.lock import InUseError, locked

# Run by the file's path: the package would bring jax.
HOLDER = f"""
import runpy, sys, time
locked = runpy.run_path({lock.__file__!r})["locked"]
with locked(sys.argv[1], "training", shared=sys.argv[2] == "shared"):
    print("in", flush=True)
    time.sleep(60)
"""


def holder(directory, kind="alone"):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory), kind], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "in\n"
    return process


def test_the_second_process_is_told_of_the_first_in_one_line_and_a_killed_one_holds_nothing(
    tmp_path,
):
    directory = tmp_path / "run"
    process = holder(directory)
    for shared in (False, True):
        with (
            pytest.raises(InUseError, match=rf"run is in use: training, process {process.pid}"),
            locked(directory, "evaluating", shared=shared),
        ):
            pytest.fail("two are in")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with locked(directory, "evaluating"):
        assert f"process {os.getpid()}" in (directory / lock.LOCK_FILE).read_text()
    with locked(directory, "once more"):
        pass


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with (
        pytest.warns(UserWarning, match=f"{tmp_path} is on a file system without locks"),
        locked(tmp_path, "training"),
    ):
        pass


def test_those_who_only_read_keep_out_those_who_change(tmp_path):
    with locked(tmp_path, "evaluating", shared=True):
        with locked(tmp_path, "evaluating too", shared=True):
            pass
        with (
            pytest.raises(InUseError, match="evaluating"),
            locked(tmp_path, "training"),
        ):
            pytest.fail("two are in")


def test_a_place_that_cannot_be_locked_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file" / "run", "training"):
        pytest.fail("in")
