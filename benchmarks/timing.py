"""Measure pairs of computations in turn, so that a machine that slows down slows both."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_PEAK_SIDE = 2048


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A computation and its alternative.

    Attributes:
      name: what both do.
      ours: how we do it.
      alternative: how else it could be done.
      ours_s: median seconds.
      alternative_s: the same of the alternative.
      ratio: median of the pairwise ratios, alternative / ours.
      operations: floating-point operations of ours, those of its matrix products and convolutions; None
        where that is not the question.
      faces: that ours takes at a time; None where that is not the question.
    """

    name: str
    ours: str
    alternative: str
    ours_s: float
    alternative_s: float
    ratio: float
    operations: float | None = None
    faces: int | None = None

    @property
    def share_of_peak(self) -> float | None:
        """Of what this machine's own product of two large float32 matrices reaches, in [0, 1] or so."""
        return self.operations and self.operations / self.ours_s / peak()

    @property
    def faces_a_second(self) -> float | None:
        """By our way."""
        return self.faces and self.faces / self.ours_s

    def row(self) -> str:
        """A line of a Markdown table."""
        faces, share = self.faces_a_second, self.share_of_peak
        cells = (
            self.name,
            self.ours,
            f"{self.ours_s * 1e3:.1f}",
            self.alternative,
            f"{self.alternative_s * 1e3:.1f}",
            f"{self.ratio:.2f}",
            "" if faces is None else f"{faces:.0f}",
            "" if share is None else f"{share:.0%}",
        )
        return f"| {' | '.join(cells)} |"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            **dataclasses.asdict(self),
            "share_of_peak": self.share_of_peak,
            "faces_a_second": self.faces_a_second,
        }


HEADER = (
    "| what | ours | ms | alternative | ms | alternative / ours | faces a second | share of peak |\n"
    "|---|---|---|---|---|---|---|---|"
)


@functools.cache
def peak() -> float:
    """Operations a second of a large float32 product on the first device: the best of several."""
    x = jnp.ones((_PEAK_SIDE, _PEAK_SIDE))
    multiply = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    jax.block_until_ready(multiply(x))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        jax.block_until_ready(multiply(x))
        times.append(time.perf_counter() - start)
    return 2 * _PEAK_SIDE**3 / min(times)


def count_operations(function: Callable[..., Any], *arguments: Any) -> float:
    """XLA's count of a function's floating-point operations. What a loop does is counted once: the
    function should have none.
    """
    analysis = jax.jit(function).lower(*arguments).compile().cost_analysis()
    return float(analysis["flops"])


def compare(
    name: str,
    ours: tuple[str, Callable[[], object]],
    alternative: tuple[str, Callable[[], object]],
    *,
    num_rounds: int = 7,
    operations: float | None = None,
    faces: int | None = None,
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
        operations,
        faces,
    )
