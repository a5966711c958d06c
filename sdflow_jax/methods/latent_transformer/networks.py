"""Latent-Transformer: one affine map of each style, and the latent classifier that trains it.

Yao, Newson, Gousseau and Hellier, "A Latent Transformer for Disentangled Face Editing in Images and
Videos" (ICCV 2021), section 3; upstream classes `F_mapping` and `LCNet`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def check_codes(w_plus: Array, num_styles: int, style_dim: int) -> None:
    """Require codes of shape [b, n, d].

    Raises:
      ValueError: if the shape is another.
    """
    if w_plus.ndim != 3 or w_plus.shape[1:] != (num_styles, style_dim):
        raise ValueError(
            f"expected codes of shape (b, {num_styles}, {style_dim}), got {w_plus.shape}"
        )


class LatentTransformer(nnx.Module):
    """Edits a code along an input-dependent direction: `w + strength * T(w)`, for one attribute.

    `T` maps each of the n styles by an affine map of its own. As upstream, the weights are stored
    with variance 1 / style_dim (Glorot's) and scaled by 1 / sqrt(style_dim) once more at run time,
    so that training begins with edits near nothing. Upstream accepts an activation but never
    applies it: `T` is linear.

    Args:
      num_styles: n, rows of the code; with 1 the same map serves every row of any code.
      style_dim: d, length of a row.
      rngs: seeds the weights.

    Raises:
      ValueError: if a size is not positive.
    """

    def __init__(self, num_styles: int = 18, style_dim: int = 512, *, rngs: nnx.Rngs):
        if num_styles < 1 or style_dim < 1:
            raise ValueError(
                f"expected positive num_styles and style_dim, got {num_styles} and {style_dim}"
            )
        self.num_styles = num_styles
        self.style_dim = style_dim
        limit = (3.0 / style_dim) ** 0.5
        self.kernel = nnx.Param(
            rngs.params.uniform((num_styles, style_dim, style_dim), minval=-limit, maxval=limit)
        )  # [n, in, out]
        self.bias = nnx.Param(jnp.zeros((num_styles, style_dim)))

    def direction(self, w_plus: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """T(w): where the attribute grows at this code."""
        is_shared = self.num_styles == 1 and w_plus.ndim == 3
        num_rows = w_plus.shape[1] if is_shared else self.num_styles
        check_codes(w_plus, num_rows, self.style_dim)
        kernel = self.kernel[...] * self.style_dim**-0.5
        kernel = jnp.broadcast_to(kernel, (num_rows, *kernel.shape[1:]))
        return jnp.einsum("bni,nio->bno", w_plus, kernel) + self.bias[...][None]

    def __call__(
        self, w_plus: Float[Array, "b n d"], strength: Float[Array, "b"]
    ) -> Float[Array, "b n d"]:
        """The edited codes.

        Args:
          w_plus: codes, [b, n, d].
          strength: how far to go for each code; upstream trains with (target - current)
            probability, in [-1, 1].
        """
        return w_plus + strength[:, None, None] * self.direction(w_plus)


class AttributeTransformers(nnx.Module):
    """The Latent Transformer's editing: one transformer for each attribute, applied in turn.

    Args:
      num_attributes: number of transformers.
      num_styles: n, rows of the code.
      style_dim: d, length of a row.
      rngs: seeds the weights.
    """

    def __init__(self, num_attributes: int, num_styles: int, style_dim: int, *, rngs: nnx.Rngs):
        self.transformers = nnx.List(
            [LatentTransformer(num_styles, style_dim, rngs=rngs) for _ in range(num_attributes)]
        )

    def __call__(
        self, w_plus: Float[Array, "b n d"], change: Float[Array, "b a"]
    ) -> Float[Array, "b n d"]:
        """Several attributes one after the other, each from where the last has led (as upstream)."""
        for index, transformer in enumerate(self.transformers):
            w_plus = transformer(w_plus, change[:, index])
        return w_plus


class LatentClassifier(nnx.Module):
    """Predicts attributes from a code alone: linear layers with leaky ReLUs between them.

    Args:
      num_styles: n, rows of the code.
      style_dim: d, length of a row.
      hidden_sizes: widths of the inner layers; the default is what upstream trains, not its class
        default.
      num_attributes: number of logits.
      negative_slope: of the leaky ReLUs. Upstream trains with 0.2; its option "relu" is 0.
      rngs: seeds the weights.
    """

    def __init__(
        self,
        num_styles: int = 18,
        style_dim: int = 512,
        hidden_sizes: Sequence[int] = (2048, 512),
        num_attributes: int = 40,
        negative_slope: float = 0.2,
        *,
        rngs: nnx.Rngs,
    ):
        self.num_styles = num_styles
        self.style_dim = style_dim
        self.negative_slope = negative_slope
        sizes = (num_styles * style_dim, *hidden_sizes, num_attributes)
        self.layers = nnx.List(
            [nnx.Linear(a, b, rngs=rngs) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        )

    def logits(self, w_plus: Float[Array, "b n d"]) -> Float[Array, "b a"]:
        """One logit for each attribute."""
        check_codes(w_plus, self.num_styles, self.style_dim)
        hidden = w_plus.reshape(w_plus.shape[0], -1)
        for layer in self.layers[:-1]:
            hidden = jax.nn.leaky_relu(layer(hidden), self.negative_slope)
        return self.layers[-1](hidden)

    def __call__(self, w_plus: Float[Array, "b n d"]) -> Float[Array, "b a"]:
        """Probabilities in [0, 1]."""
        return nnx.sigmoid(self.logits(w_plus))
