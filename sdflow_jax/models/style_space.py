"""The space of styles that every StyleGAN2 generator here starts from: z -> w -> W+.

Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks",
section 2 (mapping network, truncation, style mixing).
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.equalized import EqualizedLinear

_NORMALIZATION_EPSILON = 1e-8


class StyleAverage(nnx.Variable):
    """The mean of w over random z, toward which truncation moves; a statistic, not a parameter."""


def seeded_normal(seeds: Iterable[int], dim: int) -> Float[np.ndarray, "b d"]:
    """z ~ N(0, I) as float32, one for each seed: `default_rng(seed).standard_normal((1, dim))`."""
    draws = [np.random.default_rng(int(seed)).standard_normal((1, dim)) for seed in seeds]
    return np.concatenate(draws).astype(np.float32)


class StyleSpace(nnx.Module):
    """Mapping network, truncation and W+ codes, for a generator to inherit.

    The generator sets these attributes besides:

    Attributes:
      resolution: side of its largest picture in pixels.
      resolutions: those that its `synthesize` can be asked for, rising.
      picture_sizes: those of them at which it gives pictures in their own right, which need no
        later layer.

    Args:
      style_dim: length of z and of every style.
      num_styles: rows of a W+ code.
      num_mapping_layers: layers of the mapping network.
      mapping_lr_multiplier: learning rate of the mapping network relative to the synthesis network.
      rngs: stream `params`.
    """

    resolution: int
    resolutions: tuple[int, ...]
    picture_sizes: tuple[int, ...]

    def __init__(
        self,
        style_dim: int,
        num_styles: int,
        *,
        num_mapping_layers: int = 8,
        mapping_lr_multiplier: float = 0.01,
        rngs: nnx.Rngs,
    ):
        self.style_dim = style_dim
        self.num_styles = num_styles
        self.mapping = nnx.List(
            EqualizedLinear(
                style_dim,
                style_dim,
                learning_rate_multiplier=mapping_lr_multiplier,
                activate=True,
                rngs=rngs,
            )
            for _ in range(num_mapping_layers)
        )
        self.w_average = StyleAverage(jnp.zeros(style_dim))

    def map(self, z: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """Map z ~ N(0, I) to styles w: normalize to unit mean square, then the layers."""
        x = z * jax.lax.rsqrt(
            jnp.mean(jnp.square(z), axis=-1, keepdims=True) + _NORMALIZATION_EPSILON
        )
        for layer in self.mapping:
            x = layer(x)
        return x

    def truncate(self, w: Float[Array, "*b d"], psi: float) -> Float[Array, "*b d"]:
        """Move styles toward the average: w_average + psi (w - w_average); 1 for no change."""
        average = self.w_average[...].reshape((1,) * (w.ndim - 1) + (-1,))
        return average + psi * (w - average)

    def broadcast(self, w: Float[Array, "b d"]) -> Float[Array, "b n d"]:
        """Use one style for all layers."""
        return jnp.repeat(w[:, None, :], self.num_styles, axis=1)

    def mix(
        self, w_coarse: Float[Array, "b d"], w_fine: Float[Array, "b d"], crossover: int
    ) -> Float[Array, "b n d"]:
        """Use `w_coarse` for the first `crossover` styles and `w_fine` for the others."""
        is_coarse = jnp.arange(self.num_styles)[None, :, None] < crossover
        return jnp.where(is_coarse, w_coarse[:, None, :], w_fine[:, None, :])

    def check_codes(self, w_plus: Float[Array, "b n d"]) -> None:
        """Make sure that codes are for this generator.

        Raises:
          ValueError: if they have another number or length of styles. (The reference ignores
            surplus rows; cut them with `w_plus[:, :generator.num_styles]` where that is meant.)
        """
        if w_plus.ndim != 3 or w_plus.shape[1:] != (self.num_styles, self.style_dim):
            raise ValueError(
                f"w_plus must be [b, {self.num_styles}, {self.style_dim}] for this"
                f" {self.resolution}px generator, got shape {tuple(w_plus.shape)};"
                " were the codes made for another one?"
            )

    def checked_resolution(self, resolution: int | None) -> int:
        """The resolution that is asked for; None asks for the largest.

        Raises:
          ValueError: if it is none of `resolutions`.
        """
        if resolution is None:
            return self.resolution
        if resolution not in self.resolutions:
            raise ValueError(
                f"resolution must be one of {list(self.resolutions)} for this {self.resolution}px"
                f" generator, got {resolution}"
            )
        return resolution
