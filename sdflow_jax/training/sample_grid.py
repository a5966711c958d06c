"""Pictures of how the networks edit a few faces, drawn while they train."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from sdflow_jax.data.pixels import to_bytes, to_signed
from sdflow_jax.resizing import crop_and_resize

_MARGIN = 4
_FONT_SIZE = 14

Draw = Callable[[nnx.Module], UInt8[np.ndarray, "h w 3"]]


def make_drawing(
    generator: nnx.Module,
    images: UInt8[np.ndarray, "b r r 3"],
    w_plus: Float[np.ndarray, "b n d"],
    attributes: Sequence[str],
) -> Draw:
    """Prepare the drawing of a fixed set of faces, compiled at its first use.

    Args:
      generator: the frozen generator.
      images: the faces, as the semantic encoder takes them.
      w_plus: their latents.
      attributes: names of the semantic variables.

    Returns:
      A function of an `EditingMethod` that draws one column per face: the face, its reconstruction,
      and each attribute edited to 0 and to 1. An edit that could not be computed is white.
    """
    labels = ["Original", "Reconstruction"]
    labels += [f"{name} = {end}" for name in attributes for end in (0, 1)]
    generator_graph, generator_arrays = nnx.split(generator)
    original = to_signed(jnp.asarray(images))

    @jax.jit
    def edit(method, generator_arrays, original, w_plus) -> Float[Array, "v b r r 3"]:
        generator = nnx.merge(generator_graph, generator_arrays)
        code, s = method.encode(w_plus, original)
        targets = [s.at[:, i].set(end) for i in range(len(attributes)) for end in (0.0, 1.0)]

        def synthesize(latents):
            return crop_and_resize(generator.synthesize(latents), original.shape[1])

        def variant(target):
            edited = method.decode(code, target)
            is_finite = jnp.all(jnp.isfinite(edited), axis=(1, 2))
            return jnp.where(is_finite[:, None, None, None], synthesize(edited), 1.0)

        # One variant at a time: at 1024 pixels all of them together would not fit in memory.
        edited = jax.lax.map(variant, jnp.stack(targets))
        return jnp.concatenate([original[None], synthesize(w_plus)[None], edited])

    def draw(method: nnx.Module) -> UInt8[np.ndarray, "h w 3"]:
        variants = to_bytes(
            edit(method, nnx.as_pure(generator_arrays), original, jnp.asarray(w_plus))
        )
        return labeled_rows(labels, variants)

    return draw


def labeled_rows(
    labels: Sequence[str], images: UInt8[np.ndarray, "v b r r 3"], *, smallest_side: int = 96
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay rows of images out on white, each with its label on the left.

    Args:
      labels: one per row.
      images: the rows.
      smallest_side: smaller images are enlarged by whole factors to at least this many pixels.
    """
    factor = max(1, -(-smallest_side // images.shape[2]))
    images = images.repeat(factor, axis=2).repeat(factor, axis=3)
    num_rows, num_columns, side = images.shape[:3]
    font = ImageFont.load_default(_FONT_SIZE)
    left = _MARGIN + max(round(font.getlength(label)) for label in labels) + _MARGIN
    step = side + _MARGIN
    canvas = Image.new("RGB", (left + num_columns * step, num_rows * step + _MARGIN), "white")
    pen = ImageDraw.Draw(canvas)
    for row, (label, row_images) in enumerate(zip(labels, images, strict=True)):
        top = _MARGIN + row * step
        pen.text((_MARGIN, top + side // 2), label, fill="black", font=font, anchor="lm")
        for column, image in enumerate(row_images):
            canvas.paste(Image.fromarray(image), (left + column * step, top))
    return np.asarray(canvas)
