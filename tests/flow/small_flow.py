"""A small flow with weights from numpy, lively enough that nothing about it is nearly trivial."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdflow_jax.files import networks
from sdflow_jax.flow import ConditionalFlow

DIM, NUM_CONDITIONS, NUM_STYLES, BATCH = 4, 2, 3, 2


def small_flow(*, dim=DIM, hidden_sizes=(8,), seed=0, **arguments) -> ConditionalFlow:
    arguments |= {"dim": dim, "num_conditions": NUM_CONDITIONS, "hidden_sizes": list(hidden_sizes)}
    random = np.random.default_rng(seed)
    arrays = {}
    for path, shape in networks.expected_shapes("ConditionalFlow", arguments).items():
        kind = path.rsplit("/", 1)[-1]
        if kind == "kernel":
            values = random.normal(size=shape) * 1.2 / np.sqrt(shape[0])
        elif kind == "variance":
            values = random.uniform(0.5, 1.5, shape)
        elif kind == "sqrt_end_time":
            values = np.asarray(0.9)
        elif kind == "num_updates":
            values = np.asarray(7.0)
        else:
            values = 0.3 * random.normal(size=shape)
        arrays[path] = np.asarray(values, np.float32)
    flow = nnx.eval_shape(lambda: networks.build("ConditionalFlow", arguments))
    networks.load_arrays(flow, arrays, source="test")
    return flow


def in_float64(module: nnx.Module) -> nnx.Module:
    """`module` with its arrays cast; needs `jax.enable_x64(True)`."""
    nnx.update(module, jax.tree.map(lambda x: x.astype(jnp.float64), nnx.state(module)))
    return module


def small_batch(*, dim=DIM, seed=1):
    """Latents, semantic variables and Rademacher noise."""
    random = np.random.default_rng(seed)
    shape = (BATCH, NUM_STYLES, dim)
    return (
        jnp.asarray(random.normal(size=shape), jnp.float32),
        jnp.asarray(random.uniform(size=(BATCH, NUM_CONDITIONS)), jnp.float32),
        jnp.asarray(random.choice([-1.0, 1.0], shape), jnp.float32),
    )
