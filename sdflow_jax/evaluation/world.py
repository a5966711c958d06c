"""What turns latents into faces, and who looks at them."""

from typing import NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.evaluation.judges import Jury
from sdflow_jax.models.synthesis import picture_size, render

_render = jax.jit(render, static_argnames="resolution")


class World(NamedTuple):
    """The generator, and the judges of its faces."""

    generator: nnx.Module
    judges: Jury

    def judged_faces(self, w_plus: Float[Array, "b n d"]) -> Float[Array, "b r r 3"]:
        """Faces for the judges, at no higher resolution than they look at; outside `jax.jit`."""
        size = self.judges.image_size
        resolution = None if size is None else picture_size(self.generator, size)
        return _render(self.generator, w_plus, resolution=resolution)

    def whole_faces(self, w_plus: Float[Array, "b n d"]) -> Float[Array, "b r r 3"]:
        """Faces for people to look at; outside `jax.jit`."""
        return _render(self.generator, w_plus)
