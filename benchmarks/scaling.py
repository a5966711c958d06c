"""Time a face against faces at once and rows a code: `python -m benchmarks.scaling --plot=FILE`.

A flow of the paper's size, four equal steps of Tsit5, so that every size takes as many evaluations of the field.
Medians; the large sizes take minutes and some gigabytes on a CPU (`--batches=1,4,16,64` for less).
"""

import argparse
import pathlib
import statistics
import sys
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import matplotlib
from flax import nnx

from sdflow_jax.flow.conditional_flow import ConditionalFlow

_BATCHES, _ROWS, _ROUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256), (1, 3, 18), 3
_EDIT, _LIKELIHOOD = "edit: back from z", "likelihood and its gradient"


def main() -> None:
    """Measure, print a table, and draw it if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--batches", type=_numbers, default=_BATCHES)
    parser.add_argument("--rows", type=_numbers, default=_ROWS)
    parser.add_argument("--plot", type=pathlib.Path, help="a picture file to write")
    given = parser.parse_args()
    found = measure(given.batches, given.rows)
    print(f"| work | rows | {' | '.join(f'{b} faces' for b in given.batches)} |")
    print("|---" * (len(given.batches) + 2) + "|")
    for (work, rows), seconds in found.items():
        cells = (f"{1e3 * x / b:.2f}" for x, b in zip(seconds, given.batches, strict=True))
        print(f"| {work}, ms a face | {rows} | {' | '.join(cells)} |")
    if given.plot:
        draw(found, given.batches, given.plot)


def _numbers(words: str) -> tuple[int, ...]:
    return tuple(int(word) for word in words.split(","))


def measure(
    batches: Sequence[int], row_counts: Sequence[int]
) -> dict[tuple[str, int], list[float]]:
    """(work, rows a code) -> median seconds of each batch."""
    solver = {"method": "tsit5", "num_steps": 4, "adjoint": "stored_steps"}
    graph, state = nnx.split(ConditionalFlow(512, 3, solver=solver, rngs=nnx.Rngs(0)))

    @jax.jit
    def edit(state, w_plus, s, noise):
        return nnx.merge(graph, state).inverse(w_plus, s).latents

    @jax.jit
    def likelihood(state, w_plus, s, noise):
        def nll(state):
            solved = nnx.merge(graph, state).forward(w_plus, s, noise=noise)
            return jnp.mean(solved.latents**2) + jnp.mean(solved.delta_logp)

        return jax.grad(nll, allow_int=True)(state)

    found: dict[tuple[str, int], list[float]] = {}
    for rows in row_counts:
        for batch in batches:
            print(f"{rows} rows, {batch} faces", file=sys.stderr, flush=True)
            keys = jax.random.split(jax.random.key(0), 3)
            w_plus = 0.8 * jax.random.normal(keys[0], (batch, rows, 512))
            noise = jax.random.rademacher(keys[1], w_plus.shape, w_plus.dtype)
            s = jax.random.uniform(keys[2], (batch, 3))
            for name, function in ((_EDIT, edit), (_LIKELIHOOD, likelihood)):
                times = []
                for number in range(_ROUNDS + 1):
                    start = time.perf_counter()
                    jax.block_until_ready(function(state, w_plus, s, noise))
                    if number:  # the first compiles
                        times.append(time.perf_counter() - start)
                found.setdefault((name, rows), []).append(statistics.median(times))
    return found


def draw(
    found: dict[tuple[str, int], list[float]], batches: Sequence[int], path: pathlib.Path
) -> None:
    """Milliseconds a face against faces at once, both logarithmic."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    for axis, work in zip(axes, (_EDIT, _LIKELIHOOD), strict=True):
        for (name, rows), seconds in found.items():
            if name == work:
                a_face = [1e3 * x / b for x, b in zip(seconds, batches, strict=True)]
                axis.plot(batches, a_face, "o-", label=f"{rows} row{'s' * (rows > 1)} a code")
        axis.set(xscale="log", yscale="log", xlabel="faces at once", title=work)
        axis.set_xticks(batches, [str(b) for b in batches])
        axis.minorticks_off()
        axis.grid(visible=True, alpha=0.3)
    axes[0].set_ylabel("ms a face")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
