"""How far a long work is: one line that changes, or plain lines where the output is a file."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_ON_A_TERMINAL, _IN_A_FILE = 0.2, 30.0  # seconds between lines


class Progress:
    """Tells of a work of many equal parts, with the time that is left.

    Args:
      total: parts of the whole work.
      done: parts that were done before, and say nothing of the time.
      unit: what a part is called, in the plural.
      stream: where to.
      clock: seconds.
    """

    def __init__(
        self,
        total: int,
        done: int,
        unit: str,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total, self._first, self._done, self._unit = total, done, done, unit
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._start = self._told = clock()
        self._length = 0

    def advance(self, detail: str = "") -> None:
        """One more part is done; tells of it if it is time to.

        Args:
          detail: put into the line.
        """
        self.reach(self._done + 1, detail)

    def reach(self, done: int, detail: str = "") -> None:
        """So many parts are done; tells of it if it is time to.

        Args:
          done: of the whole work, with those that were done before.
          detail: put into the line.
        """
        self._done = done
        now = self._clock()
        if now - self._told < (_ON_A_TERMINAL if self._is_terminal else _IN_A_FILE):
            return
        self._told = now
        if done == self._first:
            return
        rate = (self._done - self._first) / max(now - self._start, 1e-9)
        left = (self._total - self._done) / rate
        parts = [f"{self._done}/{self._total} {self._unit}"]
        parts += [detail] if detail else []
        parts += [f"{rate:.3g} {self._unit}/s", f"{in_words(left)} left"]
        line = ", ".join(parts)
        if self._is_terminal:
            self._stream.write("\r" + line.ljust(self._length))
            self._length = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Leave the line that changes."""
        if self._length:
            self._stream.write("\n")
            self._stream.flush()
            self._length = 0


def in_words(seconds: float) -> str:
    """A time for people: 42 s, 7 min, 3 h 20 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
