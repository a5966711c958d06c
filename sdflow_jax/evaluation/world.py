"""What turns latents into faces, and who looks at them."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.evaluation.judges import Jury


class World(NamedTuple):
    """The generator, and the judges of its faces."""

    generator: nnx.Module
    judges: Jury


def faces_of(generator: nnx.Module, w_plus: Float[Array, "b n d"]) -> Float[Array, "b r r 3"]:
    """Faces in [-1, 1], with the generator's fixed noise; surplus styles are left out."""
    return jnp.clip(generator.synthesize(w_plus[:, : generator.num_styles]), -1.0, 1.0)
