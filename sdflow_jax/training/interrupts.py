"""SIGINT and SIGTERM: at once where nothing can be lost, and at the end of a step while training."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

import jax
from jax.experimental import multihost_utils


class Interrupts:
    """While entered, SIGINT and SIGTERM end the program with status 0, without a traceback.

    Inside `deferred()` the first of them only makes `stops_at` true, so that the training loop can
    finish its step and save; a second one acts as it did before this was entered. Must be used in
    the main thread. With several processes jax itself listens for SIGTERM, so that all of them
    agree on the step, and SIGINT acts as usual.
    """

    def __init__(self):
        self._signals = () if jax.process_count() > 1 else (signal.SIGINT, signal.SIGTERM)
        self._previous: dict[signal.Signals, object] = {}
        self._is_deferred = False
        self.received: str | None = None

    def __enter__(self) -> "Interrupts":
        self._previous = {number: signal.signal(number, self._handle) for number in self._signals}
        return self

    def __exit__(self, *exception) -> None:
        self._restore()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Keep a signal until it is asked for."""
        self._is_deferred = True
        yield
        self._is_deferred = False

    def stops_at(self, step: int) -> bool:
        """Whether training shall stop after this step; to be asked at every step, in all processes."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.received = "SIGTERM"
        return self.received is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = signal.Signals(number).name
        if not self._is_deferred:
            raise SystemExit(0)
        self._restore()  # so that an impatient second signal is not swallowed

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)
