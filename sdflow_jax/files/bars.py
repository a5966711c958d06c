"""Progress bars that are lines where nobody watches: in a file or a pipe."""

import sys
from typing import Any

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 10.0


class Bar(tqdm):
    """tqdm's bar on a terminal. Elsewhere its text in lines, every ten seconds and at the end, without
    a carriage return.

    Takes tqdm's arguments, but for `file`, which is stderr.
    """

    def __init__(self, *arguments: Any, **options: Any):
        self.is_watched = sys.stderr.isatty()
        if not self.is_watched:
            options |= {"mininterval": _SECONDS_BETWEEN_LINES, "miniters": 1}
        super().__init__(*arguments, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Show how far it is."""
        if self.is_watched:
            return super().display(msg, pos)
        self.fp.write(f"{self if msg is None else msg}\n")
        self.fp.flush()
        return True

    def clear(self, nolock: bool = False) -> None:
        """Make place for another line; lines need none."""
        if self.is_watched:
            super().clear(nolock)

    def close(self) -> None:
        """Show how far it came, and give its place to the next one."""
        if self.is_watched or self.disable:
            super().close()
            return
        if self.last_print_t >= self.start_t + self.delay:
            self.display()
        # tqdm's own way ends the line that it has overwritten, and there is none.
        self.disable = True
        self._decr_instances(self)
