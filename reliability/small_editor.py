"""An editor of random networks that compiles in a few seconds: pictures of 16 pixels."""

import jax.numpy as jnp
from flax import nnx

from reliability.tiny_world import random_arrays
from sdflow_jax.editor import Editor
from sdflow_jax.files import networks
from sdflow_jax.methods.sdflow.editing import FlowEditing

SIZE = 16
NUM_STYLES = 6
STYLE_DIM = 4
ATTRIBUTES = ("Young", "Male")

_NETWORKS = {
    "Generator": {
        "resolution": SIZE,
        "style_dim": STYLE_DIM,
        "channels": {"4": 2, "8": 2, "16": 2},
        "num_mapping_layers": 1,
    },
    "ConditionalFlow": {
        "dim": STYLE_DIM,
        "num_conditions": len(ATTRIBUTES),
        "hidden_sizes": (4,),
        "solver": {"method": "heun", "num_steps": 4},
    },
}


class BrightnessReader(nnx.Module):
    """In place of the semantic encoder: the brightness of two halves, in [0, 1]."""

    def __call__(self, images):
        left, right = images[:, :, : SIZE // 2], images[:, :, SIZE // 2 :]
        return jnp.stack([half.mean((1, 2, 3)) for half in (left, right)], 1) / 2 + 0.5


class MeanEncoder(nnx.Module):
    """In place of the inversion encoder: every style is the mean color and a one."""

    image_size, num_styles, style_dim = SIZE, NUM_STYLES, STYLE_DIM

    def __call__(self, images):
        color = images.mean((1, 2))
        code = jnp.concatenate([color, jnp.ones_like(color[:, :1])], 1)
        return jnp.repeat(code[:, None], NUM_STYLES, 1)


def network(name: str) -> nnx.Module:
    """One of the random networks."""
    arguments = _NETWORKS[name]
    module = networks.build_abstract(name, arguments)
    networks.load_arrays(module, random_arrays(name, arguments, 0), source="random numbers")
    module.eval()
    return module


def small_editor() -> Editor:
    """The editor; three faces pass at a time."""
    method = FlowEditing(
        network("ConditionalFlow"), BrightnessReader(), attributes=ATTRIBUTES, image_size=SIZE
    )
    return Editor(method, network("Generator"), MeanEncoder(), batch_size=3)
