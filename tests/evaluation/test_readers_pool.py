import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sdflow_jax.evaluation.errors import EvaluationError
from sdflow_jax.evaluation.published_readers import FaceReadings
from sdflow_jax.evaluation.readers_pool import ReadersPool


def reader():
    """Of readers that tell each face's mean, its first pixel, and the process that read it."""

    def read(images):
        readings = FaceReadings.nothing(len(images))
        readings.male[:] = images.mean(axis=(1, 2, 3))
        readings.embedding[:] = images[:, :1, 0, 0]
        readings.age[:] = os.getpid() % 100_000
        return readings

    return read


def missing():
    raise FileNotFoundError("a network")


def killed():
    """Readers whose processes are killed while they read."""
    return lambda images: os.kill(os.getpid(), signal.SIGKILL)


def killed_once():
    """Readers of which the first that reads is killed."""

    def read(images):
        try:
            os.remove(os.environ["KILLS_ONCE"])
        except FileNotFoundError:
            return reader()(images)
        os.kill(os.getpid(), signal.SIGKILL)

    return read


def faces(count):
    values = np.arange(count, dtype=np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, 4, 4, 3))


def test_processes_share_the_faces_and_keep_their_order():
    pool = ReadersPool(2, reader)
    for count in (5, 2):
        readings = pool(faces(count))
        np.testing.assert_array_equal(readings.male, np.arange(count))
        np.testing.assert_array_equal(readings.embedding[:, 7], np.arange(count))
        assert len(set(readings.age)) in (1, 2)  # one may have taken both shares
        assert os.getpid() % 100_000 not in readings.age


@pytest.mark.parametrize(("num_processes", "count"), [(1, 3), (4, 1), (4, 0)])
def test_what_cannot_be_shared_is_read_here(num_processes, count):
    readings = ReadersPool(num_processes, reader)(faces(count))
    np.testing.assert_array_equal(readings.male, np.arange(count))
    assert set(readings.age) <= {os.getpid() % 100_000}


def test_new_processes_begin_once_where_one_is_killed(tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    monkeypatch.setenv("KILLS_ONCE", str(mark))
    pool = ReadersPool(2, killed_once)
    for _ in range(2):  # each time
        mark.touch()
        np.testing.assert_array_equal(pool(faces(5)).male, np.arange(5))
        assert not mark.exists()


def test_processes_that_are_killed_again_and_again_are_an_error():
    with pytest.raises(EvaluationError, match="killed twice; is there enough memory"):
        ReadersPool(2, killed)(faces(4))


def test_missing_networks_are_told_before_a_process_starts():
    with pytest.raises(FileNotFoundError, match="a network"):
        ReadersPool(2, missing)


_PROGRAM = """
import time
from sdflow_jax.evaluation.readers_pool import ReadersPool
from tests.evaluation.test_readers_pool import faces, reader
told = ReadersPool(2, reader)(faces(8))
print(int(told.age[0]), int(told.age[-1]), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="looks for processes in /proc")
def test_processes_end_with_one_that_is_killed():
    asking = subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True)
    readers = set(asking.stdout.readline().split())
    assert readers
    asking.kill()
    asking.wait()
    asking.stdout.close()
    late = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{reader}") for reader in readers):
        assert time.monotonic() < late
        time.sleep(0.1)
