"""Work in a forked process that has everything imported, so that a kill falls into the work itself."""

import contextlib
import ctypes
import dataclasses
import json
import os
import pathlib
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any

_POLL_S = 0.002
_LIMIT_S = 900.0
_SET_PARENT_DEATH_SIGNAL = 1  # of prctl


@dataclasses.dataclass
class Forked:
    """A process that does one thing.

    Its parent must not have computed with jax, whose threads a fork would not bring along.

    Args:
      work: what it does; an exception ends it with status 1.
      log: gets what it prints, after what is there.
    """

    work: Callable[[], Any]
    log: pathlib.Path

    def __post_init__(self):
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._be_the_child()

    def _be_the_child(self) -> None:
        code = 1
        _end_with_parent()
        try:
            out = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(out, 1)
            os.dup2(out, 2)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.work()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
            print(stop.code, flush=True)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def is_over(self) -> bool:
        """Whether it has ended, by whatever."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait_until(self, condition: Callable[[], bool], limit_s: float = _LIMIT_S) -> bool:
        """Wait until it has ended or a condition holds; returns whether it is still at work.

        Raises:
          TimeoutError: if neither comes.
        """
        stop = time.monotonic() + limit_s
        while not self.is_over():
            if condition():
                return True
            if time.monotonic() > stop:
                self.send(signal.SIGKILL)
                raise TimeoutError(f"a process did not end within {limit_s:g} s; see {self.log}")
            time.sleep(_POLL_S)
        return False

    def work_for(self, seconds: float) -> bool:
        """Let it work for a while; returns whether it still does."""
        stop = time.monotonic() + seconds
        return self.wait_until(lambda: time.monotonic() >= stop, seconds + 1)

    def finish(self) -> int:
        """Wait for its end; returns its exit status, negative for a signal."""
        self.wait_until(lambda: False)
        return self.status

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.send(signal.SIGKILL)
        self.finish()


def _end_with_parent() -> None:
    """Let nobody's work go on when the matrix is stopped; where the system can (Linux)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def answer_of(function: Callable[[], Any], directory: pathlib.Path) -> Any:
    """What a function returns, computed in a forked process; JSON-able.

    Raises:
      RuntimeError: if the function raised something.
    """
    file, log = directory / "answer.json", directory / "answer.log"
    file.unlink(missing_ok=True)
    if Forked(lambda: file.write_text(json.dumps(function())), log).finish():
        raise RuntimeError(log.read_text())
    return json.loads(file.read_text())
