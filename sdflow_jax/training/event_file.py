"""TensorBoard's events, written by the one who measures: a full disk is told where it is met.

tensorboardX's own writer hands them to a thread; if that dies of an error, nobody hears of it, and
training waits for ever when the queue is full.
"""

import os
import pathlib
import time
from collections.abc import Callable

from jaxtyping import UInt8
from numpy import ndarray
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from sdflow_jax.files.atomic import naming

_FLUSH_SECONDS = 20.0


class EventFile:
    """A new file of scalars and images in a directory, made if need be.

    Args:
      directory: of a run's event files.
      begin: events of this step and later ones, in earlier files, count no more.

    Raises:
      OSError: naming the directory, here and in every method, if the disk is full or may not be
        written.
    """

    def __init__(self, directory: str | os.PathLike[str], *, begin: int):
        self._directory = pathlib.Path(directory)
        self._flushed = time.monotonic()
        with naming(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(self._directory / "events"))
        self._write(Event(step=begin, session_log=SessionLog(status=SessionLog.START)))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Record a number."""
        self._write(Event(step=step, summary=summary.scalar(name, value)))

    def add_image(self, name: str, image: UInt8[ndarray, "h w 3"], step: int) -> None:
        """Record a picture."""
        self._write(Event(step=step, summary=summary.image(name, image, dataformats="HWC")))

    def close(self) -> None:
        """Write what is still buffered."""
        self._do(self._writer.close)

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._do(lambda: self._writer.write_event(event))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._do(self._writer.flush)
            self._flushed = time.monotonic()

    def _do(self, act: Callable[[], object]) -> None:
        with naming(self._directory):
            act()
