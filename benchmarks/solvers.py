"""Work against precision of the flow's solvers: `python -m benchmarks.solvers [--rows=18] [--plot=FILE]`.

The pocket world's trained flow carries 16 faces to z with their density, and back under the opposite of
what its semantic encoder read. Errors are root mean squares against Dopri8 at 1e-9 in float64; times are
medians on this machine of the likelihood's gradient and of an edit's gradient, each setting in turn.
"""

import argparse
import dataclasses
import pathlib
import statistics
import sys
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from flax import nnx

from sdflow_jax.files import networks
from sdflow_jax.flow.conditional_flow import ConditionalFlow
from sdflow_jax.flow.solve import SolverSettings
from sdflow_jax.models.synthesis import render

_NUM_FACES, _READ_AT, _ROUNDS = 16, 64, 7
_ADAPTIVE = (  # method, tolerances, first steps
    ("dopri5", (1e-3, 1e-4, 1e-5), (0.5, 0.25, 0.05)),
    ("tsit5", (1e-3, 1e-4, 1e-5), (0.5, 0.25, 0.05)),
    ("bosh3", (1e-3, 1e-4), (0.25,)),
    ("dopri8", (1e-4,), (0.5,)),
)
_EQUAL_STEPS = {"tsit5": (2, 3, 4), "dopri5": (2, 4), "bosh3": (4, 8), "midpoint": (8,)}


@dataclasses.dataclass(frozen=True)
class Measured:
    """Evaluations, errors and seconds of one setting."""

    name: str
    settings: SolverSettings
    evaluations: tuple[int, int]
    errors: tuple[float, float, float]
    likelihood_s: float
    edit_s: float


def settings_to_compare(adjoint: str) -> dict[str, SolverSettings]:
    """Name -> settings: each method at falling tolerances, then with equal steps."""
    named = {}
    for method, tolerances, first_steps in _ADAPTIVE:
        for tolerance in tolerances:
            for first in first_steps:
                named[f"{method}, {tolerance:g}, first step {first:g}"] = SolverSettings(
                    method, tolerance, tolerance, first, max_steps=128, adjoint=adjoint
                )
    for method, counts in _EQUAL_STEPS.items():
        for count in counts:
            named[f"{method}, {count} equal steps"] = SolverSettings(
                method, num_steps=count, adjoint=adjoint
            )
    return named


def main() -> None:
    """Measure, print a table, and draw it if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.solvers", description=__doc__)
    parser.add_argument("--rows", type=int, default=1, help="rows of each code, all different")
    parser.add_argument("--adjoint", default="stored_steps")
    parser.add_argument("--only", default="", help="settings whose names have this in them")
    parser.add_argument("--plot", type=pathlib.Path, help="a picture file to write")
    given = parser.parse_args()
    flow = networks.load_network("pocket:flow")
    w_plus, s, noise = faces(given.rows)
    named = settings_to_compare(given.adjoint)
    found = measure(flow, w_plus, s, noise, {n: x for n, x in named.items() if given.only in n})
    print("| solver | evaluations there, back | z | w_e | density | likelihood ms | edit ms |")
    print("|---|---|---|---|---|---|---|")
    for row in found:
        there, back = row.evaluations
        print(
            f"| {row.name} | {there}, {back} | "
            + " | ".join(f"{error:.1e}" for error in row.errors)
            + f" | {row.likelihood_s * 1e3:.0f} | {row.edit_s * 1e3:.0f} |"
        )
    if given.plot:
        draw(found, given.plot)


def faces(rows: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Codes [b, rows, d], their semantic variables [b, a], and Hutchinson's probe."""
    generator = networks.load_network("pocket:generator")
    encoder = networks.load_network("pocket:semantic_encoder")
    keys = jax.random.split(jax.random.key(0))
    z = jax.random.normal(keys[0], (_NUM_FACES * rows, generator.style_dim))
    w = generator.truncate(generator.map(z), 0.9)
    w_plus = w.reshape(_NUM_FACES, rows, -1)
    s = encoder(render(generator, w_plus[:, :1], resolution=_READ_AT))
    return w_plus, s, jax.random.rademacher(keys[1], w_plus.shape, w_plus.dtype)


def measure(
    flow: ConditionalFlow,
    w_plus: jax.Array,
    s: jax.Array,
    noise: jax.Array,
    named: dict[str, SolverSettings],
) -> list[Measured]:
    """Each setting's errors and times."""
    with jax.enable_x64(True):
        exact = jax.device_get(_passes(_in_float64(flow), *map(_widened, (w_plus, s, noise))))
    measured, timed = {}, {}
    graph, state = nnx.split(flow)
    for name, settings in named.items():
        print(f"{len(measured) + 1}/{len(named)} {name}", file=sys.stderr, flush=True)

        def likelihood(state, settings=settings):
            solved = nnx.merge(graph, state).forward(w_plus, s, noise=noise, solver=settings)
            return jnp.mean(solved.latents**2) / 2 + jnp.mean(solved.delta_logp) / w_plus.shape[-1]

        def edit(state, settings=settings):
            back = nnx.merge(graph, state).inverse(w_plus, 1 - s, solver=settings)
            return jnp.mean(back.latents**2)

        passes = jax.jit(
            lambda state, x=settings: _passes(nnx.merge(graph, state), w_plus, s, noise, x)
        )
        found = jax.device_get(passes(state))
        errors = tuple(
            float(np.sqrt(np.mean(np.square(a - b))))
            for a, b in zip(found[:3], exact[:3], strict=True)
        )
        measured[name] = (tuple(int(n) for n in found[3:]), errors)
        timed[name] = [jax.jit(jax.grad(f, allow_int=True)) for f in (likelihood, edit)]
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in named}
    for number in range(_ROUNDS + 1):
        for name, functions in timed.items():
            for function, times in zip(functions, seconds[name], strict=True):
                start = time.perf_counter()
                jax.block_until_ready(function(state))
                if number:  # the first compiles
                    times.append(time.perf_counter() - start)
    return [
        Measured(name, named[name], *measured[name], *map(statistics.median, seconds[name]))
        for name in named
    ]


def _passes(flow, w_plus, s, noise, settings=None):
    settings = settings or SolverSettings("dopri8", 1e-9, 1e-9, max_steps=512)
    there = flow.forward(w_plus, s, noise=noise, solver=settings)
    back = flow.inverse(there.latents, 1 - s, solver=settings)
    density = there.delta_logp / w_plus.shape[-1]
    return there.latents, back.latents, density, there.num_evaluations, back.num_evaluations


def _widened(x):
    return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _in_float64(flow: ConditionalFlow) -> ConditionalFlow:
    graph, state = nnx.split(flow)
    return nnx.merge(graph, jax.tree.map(_widened, state))


def draw(found: Sequence[Measured], path: pathlib.Path) -> None:
    """Error of the edited code, and of the density, against evaluations and against time."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    kinds = {}
    for row in found:
        kind = f"{row.settings.method}{', equal steps' if row.settings.num_steps else ''}"
        kinds.setdefault(kind, []).append(row)
    for kind, rows in kinds.items():
        style = "x" if "equal" in kind else "o"
        evaluations = [sum(row.evaluations) for row in rows]
        axes[0].plot(evaluations, [row.errors[1] for row in rows], style, label=kind)
        times = [(row.likelihood_s + row.edit_s) * 1e3 for row in rows]
        axes[1].plot(times, [row.errors[2] for row in rows], style, label=kind)
    labels = (
        ("evaluations of the field, there and back", "error of the edited code"),
        ("ms of both gradients", "error of the density, nats per dimension"),
    )
    for axis, (x, y) in zip(axes, labels, strict=True):
        axis.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
        axis.grid(visible=True, alpha=0.3)
    axes[1].legend(fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
