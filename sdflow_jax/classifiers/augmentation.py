"""What the training pictures are changed by, so that no attribute is learned from what it is not."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sdflow_jax.files.config_groups import Group
from sdflow_jax.images.augmentation import mirror, reframe


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Mild random changes, each image its own; the config group `augmentation`.

    Attributes:
      mirror: whether half of the images are mirrored.
      scale: largest logarithm of the scale, either way.
      shift: largest shift, down and to the right, in shares of the side, either way.
      light: largest logarithm of the contrast, and largest brightness that is added, either way;
        pixels are in [-1, 1].
    """

    mirror: bool
    scale: float
    shift: float
    light: float

    @classmethod
    def read(cls, group: Group) -> "Augmentation":
        """Read the group; its mistakes are the group's to tell."""
        share = {"least": 0, "below": 1, "expected": "in [0, 1) (0 changes nothing)"}
        settings = cls(
            mirror=group.flag("mirror"),
            scale=group.number("scale", **share),
            shift=group.number("shift", **share),
            light=group.number("light", **share),
        )
        group.complain_of_unread()
        return settings

    def __call__(
        self, key: PRNGKeyArray, images: Float[Array, "b h w 3"]
    ) -> Float[Array, "b h w 3"]:
        """Images in [-1, 1], changed; they stay there."""
        keys = jax.random.split(key, 3)
        if self.mirror:
            images = mirror(keys[0], images)
        if self.scale or self.shift:
            reach = jnp.array([[self.scale, self.shift, self.shift]], jnp.float32)
            images = reframe(images, reach * _either_way(keys[1], (len(images), 3)))
        if self.light:
            draws = self.light * _either_way(keys[2], (2, len(images), 1, 1, 1))
            images = jnp.clip(images * jnp.exp(draws[0]) + draws[1], -1.0, 1.0)
        return images


def _either_way(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
