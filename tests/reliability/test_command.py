"""The command that runs the matrix: one at a time in a directory, and nothing of it stays behind."""

import pathlib
import signal
import subprocess
import sys
import time

from sdflow_jax.files.lock import locked

ROOT = pathlib.Path(__file__).parent.parent.parent


def start(directory):
    command = [sys.executable, "-m", "reliability", "--only", "kill-data"]
    return subprocess.Popen(
        [*command, "--directory", str(directory)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_in(directory):
    found = []
    for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if str(directory).encode() in words:
            found.append(file.parent.name)
    return found


def wait_until(condition):
    stop = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < stop
        time.sleep(0.05)


def test_a_matrix_that_is_ended_ends_its_parts(tmp_path):
    matrix = start(tmp_path)
    wait_until(lambda: len(processes_in(tmp_path)) >= 2)
    matrix.send_signal(signal.SIGTERM)
    matrix.communicate()
    assert matrix.returncode == 128 + signal.SIGTERM
    wait_until(lambda: not processes_in(tmp_path))


def test_a_second_matrix_in_a_directory_is_refused(tmp_path):
    with locked(tmp_path, "injecting faults"):
        matrix = start(tmp_path)
        told = matrix.communicate()[1]
    assert matrix.returncode == 1
    assert f"error: {tmp_path} is in use: injecting faults" in told
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]
