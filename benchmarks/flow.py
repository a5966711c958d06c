"""The flow: what the log-density costs, and what the adjoints cost."""

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
        solver={"rtol": 1e-4, "atol": 1e-4, "max_steps": 32, "adjoint": adjoint},
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
    size = (16, 18, 512, (512,) * 5) if is_large else (16, 10, 128, (256,) * 3)
    graph, state, w_plus, s, noise = _setting("recursive_checkpoint", *size)
    inverse = jax.jit(lambda p, z, s: nnx.merge(graph, p).inverse(z, s).latents)
    inverse_density = jax.jit(lambda p, z, s, e: nnx.merge(graph, p).inverse(z, s, noise=e).latents)
    yield compare(
        "inverse solve for an edit",
        ("latents alone", lambda: inverse(state, w_plus, s)),
        ("with the divergence", lambda: inverse_density(state, w_plus, s, noise)),
    )
    gradients = {}
    for adjoint in ("recursive_checkpoint", "backsolve"):
        graph, state, *_ = _setting(adjoint, *size)

        def nll(p, graph=graph):
            solution = nnx.merge(graph, p).forward(w_plus, s, noise=noise)
            return jnp.mean(jnp.square(solution.latents)) + jnp.mean(solution.delta_logp)

        gradients[adjoint] = (jax.jit(jax.grad(nll, allow_int=True)), state)
    yield compare(
        "likelihood and its gradient",
        *((name, lambda f=function, p=p: f(p)) for name, (function, p) in gradients.items()),
    )
