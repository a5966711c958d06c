"""The flow: what the log-density costs, and what its gradients cost."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.timing import Comparison, compare
from sdflow_jax.flow.conditional_flow import ConditionalFlow


def _setting(adjoint: str, batch: int, num_styles: int, dim: int, hidden: tuple[int, ...]):
    flow = ConditionalFlow(
        dim,
        3,
        hidden,
        solver={
            "method": "tsit5",
            "rtol": 1e-4,
            "atol": 1e-4,
            "first_step": 0.25,
            "max_steps": 32,
            "adjoint": adjoint,
        },
        rngs=nnx.Rngs(0),
    )
    graph, state = nnx.split(flow)
    keys = jax.random.split(jax.random.key(0), 3)
    w_plus = 0.8 * jax.random.normal(keys[0], (batch, num_styles, dim))
    s = jax.random.uniform(keys[1], (batch, 3))
    noise = jax.random.rademacher(keys[2], w_plus.shape, jnp.float32)
    return graph, nnx.to_pure_dict(state), w_plus, s, noise


def comparisons(*, is_large: bool) -> Iterator[Comparison]:
    """Compare at pocket size, or at the paper's."""
    size = (16, 18, 512, (512,) * 5) if is_large else (16, 1, 512, (512,) * 5)
    batch, num_styles, dim, hidden = size
    widths = (dim, *hidden, dim)
    # Of one evaluation of the field: a product of the rows with each layer's matrix.
    evaluation = (
        2 * batch * num_styles * sum(i * o for i, o in zip(widths, widths[1:], strict=False))
    )
    about = f"batch {batch}, {num_styles} row{'s' if num_styles > 1 else ''} of {dim}"
    graph, state, w_plus, s, noise = _setting("stored_steps", *size)

    @jax.jit
    def inverse(state, z, s):
        return nnx.merge(graph, state).inverse(z, s)

    @jax.jit
    def with_density(state, z, s, noise):
        return nnx.merge(graph, state).inverse(z, s, noise=noise).latents

    count = int(inverse(state, w_plus, s).num_evaluations)
    yield compare(
        f"inverse solve for an edit, {about}",
        ("latents alone", lambda: inverse(state, w_plus, s).latents),
        ("with the divergence", lambda: with_density(state, w_plus, s, noise)),
        operations=count * evaluation,
        faces=batch,
    )

    def nll(state, graph):
        solution = nnx.merge(graph, state).forward(w_plus, s, noise=noise)
        value = jnp.mean(jnp.square(solution.latents)) + jnp.mean(solution.delta_logp)
        return value, solution.num_evaluations

    gradients = {}
    for adjoint in ("stored_steps", "recursive_checkpoint", "backsolve"):
        graph, state, *_ = _setting(adjoint, *size)
        gradient = jax.grad(functools.partial(nll, graph=graph), allow_int=True, has_aux=True)
        gradients[adjoint] = functools.partial(jax.jit(gradient), state)
    count = int(gradients["stored_steps"]()[1])
    ours = ("stored steps", gradients["stored_steps"])
    for name, words in (
        ("recursive_checkpoint", "recursive checkpoints"),
        ("backsolve", "adjoint"),
    ):
        yield compare(
            f"likelihood and its gradient, {about}",
            ours,
            (words, gradients[name]),
            # A product with the probe beside each product; forward, once more, and twice for the gradient.
            operations=count * 2 * evaluation * 4,
            faces=batch,
        )
