"""What turns latents into faces, and who looks at them."""

from typing import NamedTuple

from flax import nnx

from sdflow_jax.evaluation.judges import Jury


class World(NamedTuple):
    """The generator, and the judges of its faces."""

    generator: nnx.Module
    judges: Jury
