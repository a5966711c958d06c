"""What an evaluation is made with: generators of faces, and judges of them."""

from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.evaluation.judges import Judges
from sdflow_jax.images.batching import map_batches
from sdflow_jax.models.synthesis import picture_size, render

_render = jax.jit(render, static_argnames="resolution")


SHOWN_SIZE = 256  # pixels, of a renderer's faces
_SHOWN_AT_ONCE = 4  # whole faces per call: those of 1024 pixels take half a gigabyte each


class EvaluationSetup(NamedTuple):
    """What makes faces of latents, and what judges them.

    Attributes:
      generator: the one that training knows.
      judges: of its faces.
      renderer: a larger generator for the same latents, for people and for judges that look at more
        pixels than `generator` has; None where there is none.
    """

    generator: nnx.Module
    judges: Judges
    renderer: nnx.Module | None = None

    def judged_faces(self, w_plus: Float[Array, "b n d"]) -> Float[Array, "b r r 3"]:
        """Faces for the judges, at no higher resolution than they look at; outside `jax.jit`."""
        size = self.judges.image_size
        if self.renderer is not None and (size is None or size > self.generator.resolution):
            return _rendered(self.renderer, w_plus, size or SHOWN_SIZE)
        resolution = None if size is None else picture_size(self.generator, size)
        return _render(self.generator, w_plus, resolution=resolution)

    def whole_faces(self, w_plus: Float[Array, "b n d"]) -> Float[np.ndarray, "b r r 3"]:
        """Faces for people to look at; outside `jax.jit`."""
        if self.renderer is not None:
            return _rendered(self.renderer, w_plus, SHOWN_SIZE)
        at_once = min(_SHOWN_AT_ONCE, len(w_plus))
        return map_batches(lambda rows: _render(self.generator, rows), at_once, w_plus)


def _rendered(renderer, w_plus, size) -> Float[np.ndarray, "b r r 3"]:
    """Faces by the renderer, one by one: large pictures gain nothing from a batch."""
    resolution = picture_size(renderer, size)
    faces = [
        _render(renderer, w_plus[i : i + 1], resolution=resolution) for i in range(len(w_plus))
    ]
    return np.concatenate([np.asarray(face) for face in faces])
