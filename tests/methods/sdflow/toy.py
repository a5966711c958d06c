"""Stand-ins for the networks, small enough that a training step compiles in seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from sdflow_jax.flow.conditional_flow import ConditionalFlow
from sdflow_jax.losses import LossSettings
from sdflow_jax.methods.sdflow.networks import TrainedNetworks
from sdflow_jax.methods.sdflow.step import make_sdflow_step
from sdflow_jax.training.state import create_state

SIZE, STYLES, DIM = 4, 2, 3
WEIGHTS = {"nll": 0.5, "kd": 2.0, "mi": 3.0, "reg": 0.7}


class ToyEncoder(nnx.Module):
    """A linear layer and a batch norm on all pixels."""

    def __init__(self, num_attributes: int, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(SIZE * SIZE * 3, num_attributes, rngs=rngs)
        self.norm = nnx.BatchNorm(num_attributes, momentum=0.9, rngs=rngs)

    def __call__(self, images):
        return nnx.sigmoid(self.norm(self.linear(images.reshape(images.shape[0], -1))))


class ToyGenerator(nnx.Module):
    """A linear layer from the styles to the pixels."""

    num_styles = STYLES

    def __init__(self, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(STYLES * DIM, SIZE * SIZE * 3, rngs=rngs)

    def synthesize(self, w_plus, *, dtype=None):
        del dtype
        flat = w_plus.reshape(w_plus.shape[0], -1)
        return jnp.tanh(self.linear(flat)).reshape(w_plus.shape[0], SIZE, SIZE, 3)


def toy_networks(num_attributes: int) -> TrainedNetworks:
    rngs = nnx.Rngs(0)
    solver = {"method": "heun", "num_steps": 2}
    flow = ConditionalFlow(DIM, num_attributes, (4,), solver=solver, rngs=rngs)
    return TrainedNetworks(flow, ToyEncoder(num_attributes, rngs=rngs))


def toy_run(*, learning_rate=1.0, num_attributes=2, average_decay=0.0, sharding=None):
    """Graphs, a fresh state, the step by gradient descent that goes with it, and the generator inside."""
    generator = ToyGenerator(rngs=nnx.Rngs(1))
    graphs, state = create_state(
        lambda: toy_networks(num_attributes),
        optax.sgd(learning_rate),
        seed=0,
        keeps_average=average_decay > 0,
    )
    step = make_sdflow_step(
        graphs,
        generator,
        weights=WEIGHTS,
        settings=LossSettings(),
        average_decay=average_decay,
        sharding=sharding,
    )
    return graphs, state, step, generator


def toy_batch(size: int = 8, num_attributes: int = 2) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "image": random.integers(0, 256, (size, SIZE, SIZE, 3), dtype=np.uint8),
        "w_plus": random.standard_normal((size, STYLES, DIM)).astype(np.float32),
        "predictions": random.random((size, num_attributes)).astype(np.float32),
    }


def copied(state):
    """A state that a step may consume while the original stays."""

    def copy(x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jnp.array(jax.random.key_data(x)))
        return jnp.array(x)

    return jax.tree.map(copy, state)
