"""Measure pairs of computations in turn, so that a machine that slows down slows both."""

import dataclasses
import statistics
import time
from collections.abc import Callable

import jax


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Median seconds of a computation and of its alternative, and the median of the pairwise ratios."""

    name: str
    ours: str
    alternative: str
    ours_s: float
    alternative_s: float
    ratio: float

    def row(self) -> str:
        return (
            f"| {self.name} | {self.ours} | {self.ours_s * 1e3:.1f} | {self.alternative} |"
            f" {self.alternative_s * 1e3:.1f} | {self.ratio:.2f} |"
        )


HEADER = "| what | ours | ms | alternative | ms | alternative / ours |\n|---|---|---|---|---|---|"


def compare(
    name: str,
    ours: tuple[str, Callable[[], object]],
    alternative: tuple[str, Callable[[], object]],
    *,
    num_rounds: int = 7,
) -> Comparison:
    """Time both computations in turn, after one round that compiles them."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_index in range(num_rounds + 1):
        for (_, function), seconds in zip((ours, alternative), times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(function())
            if round_index:
                seconds.append(time.perf_counter() - start)
    return Comparison(
        name,
        ours[0],
        alternative[0],
        statistics.median(times[0]),
        statistics.median(times[1]),
        statistics.median(b / a for a, b in zip(*times, strict=True)),
    )
