"""Published networks side by side: a process for each processor core, for they run on one each."""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool

import numpy as np
from numpy.typing import NDArray

from sdflow_jax.evaluation.errors import EvaluationError
from sdflow_jax.evaluation.published_readers import FaceReadings, PublishedReaders
from sdflow_jax.files.cores import own_cores

Readers = Callable[[NDArray[np.uint8]], FaceReadings]

_readers: Readers | None = None  # of a process of the pool


class ReadersPool:
    """Reads faces as `PublishedReaders` does, shared out among processes that start with the first faces.

    Args:
      num_processes: as many as this process may use cores by default; one reads in this process.
      make: makes the readers, here and in each process.

    Raises:
      ImportError, FileNotFoundError: as `make` does.
    """

    def __init__(
        self, num_processes: int | None = None, make: Callable[[], Readers] = PublishedReaders
    ):
        self._make = make
        self._own = make()  # what is missing is found out now
        self.num_processes = num_processes or len(own_cores())
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    def __call__(self, images: NDArray[np.uint8]) -> FaceReadings:
        """Read images [b, h, w, 3]; the rows are in their order.

        Where a process is killed, as by a system that is out of memory, new ones begin once.

        Raises:
          EvaluationError: if one of the new ones is killed, too.
        """
        count = min(self.num_processes, len(images))
        if count < 2:
            return self._own(images)
        parts = np.array_split(images, count)
        try:
            readings = self._read_parts(parts)
        except BrokenProcessPool:
            try:
                readings = self._read_parts(parts)
            except BrokenProcessPool as error:
                raise EvaluationError(
                    "the processes that read faces were killed twice; is there enough memory for"
                    f" {self.num_processes} of them, and does the program that asks begin under"
                    ' `if __name__ == "__main__":`, without which each of them runs it again?'
                ) from error
        names = [field.name for field in dataclasses.fields(FaceReadings)]
        return FaceReadings(
            *(np.concatenate([getattr(part, name) for part in readings]) for name in names)
        )

    def _read_parts(self, parts: Sequence[NDArray[np.uint8]]) -> list[FaceReadings]:
        """Each part in a process; the next call begins with new ones if one is killed.

        Raises:
          BrokenProcessPool: if that happens.
        """
        if self._pool is None:
            self._pool = concurrent.futures.ProcessPoolExecutor(
                self.num_processes,
                # A fork would copy the threads' locks of jax, which may be held.
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(self._make,),
            )
        try:
            return list(self._pool.map(_read, parts))
        except BrokenProcessPool:
            self._pool.shutdown(wait=False)
            self._pool = None
            raise


def _begin(make: Callable[[], Readers]) -> None:
    global _readers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _readers = make()


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for faces forever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _read(images: NDArray[np.uint8]) -> FaceReadings:
    return _readers(images)
