"""The parts of the matrix, and what each hands back."""

import dataclasses
import pathlib
import random
from collections.abc import Sequence

# Name -> module with `run(context)`. The longest come first, so that two at a time end together.
PARTS = {
    "kill-training": "reliability.kills",
    "fuzz-networks": "reliability.fuzzing",
    "memory": "reliability.memory",
    "kill-evaluation": "reliability.kills",
    "kill-checkpoint": "reliability.kills",
    "kill-sdflow": "reliability.kills",
    "kill-figures": "reliability.kills",
    "kill-data": "reliability.kills",
    "fuzz-checkpoints": "reliability.fuzzing",
    "fuzz-images": "reliability.fuzzing",
    "fuzz-ir": "reliability.fuzzing",
    "fuzz-npy": "reliability.fuzzing",
    "kill-conversion": "reliability.kills",
    "signals": "reliability.signals",
    "damage": "reliability.damage",
    "numbers": "reliability.numbers",
    "properties": "reliability.properties",
}


@dataclasses.dataclass(frozen=True)
class Context:
    """What a part is given.

    Attributes:
      name: of the part.
      directory: to write to, empty at first.
      seed: of everything random in the part.
      scale: share of the full number of faults, in (0, 1].
    """

    name: str
    directory: pathlib.Path
    seed: int
    scale: float

    def count(self, full: int) -> int:
        """How many of `full` faults are to be injected."""
        return max(1, round(full * self.scale))

    def random(self) -> random.Random:
        """Random numbers that are this part's alone."""
        return random.Random(f"{self.seed} {self.name}")


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
      fault: in words.
      injected: how often.
      survived: how often all was as promised.
      remark: numbers that were measured on the way.
      failures: what was not as promised, a sentence each.
    """

    fault: str
    injected: int
    survived: int
    remark: str = ""
    failures: Sequence[str] = ()

    def line(self) -> str:
        """The row in markdown."""
        return f"| {self.fault} | {self.injected} | {self.survived} | {self.remark} |"


HEADER = "| fault | injected | survived | measured |\n|---|---|---|---|"
