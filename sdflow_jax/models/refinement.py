"""Codes of pictures refined by optimization, near W.

A code far from W can show any picture, but edits of it melt. So a code is written as rows
w(n + d_i), in coordinates in which W has mean 0 and unit covariance, and n and above all the
offsets d_i are held small.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from sdflow_jax.images.resizing import average_pool
from sdflow_jax.models.synthesis import faces_of

_NUM_SAMPLES = 4096
_BATCH = 1024
_LEAST_VARIANCE = 1e-2  # of a direction, in units of the mean variance

_LEARNING_RATE = 0.05
_OPTIMIZER = optax.adam(_LEARNING_RATE)
_STYLE_WEIGHT = 0.06
_OFFSET_WEIGHT = 0.25
_IDENTITY_WEIGHT = 1.0
_SMALLEST_PICTURE = 16


class Whitening(NamedTuple):
    """w = mean + n @ scale, for n of unit covariance where w is a sample of W.

    Attributes:
      mean: [d].
      scale: [d, d].
      inverse: [d, d], n = (w - mean) @ inverse.
    """

    mean: Float[Array, " d"]
    scale: Float[Array, "d d"]
    inverse: Float[Array, "d d"]

    @classmethod
    def of(cls, w: Float[np.ndarray, "k d"]) -> "Whitening":
        """That of samples; directions of hardly any variance keep a little."""
        w = np.asarray(w, np.float64)
        variances, axes = np.linalg.eigh(np.cov(w.T))
        deviations = np.sqrt(np.maximum(variances, _LEAST_VARIANCE * variances.mean()))
        parts = (w.mean(axis=0), (axes * deviations).T, axes / deviations)
        return cls(*(jnp.asarray(part, jnp.float32) for part in parts))

    @classmethod
    def of_generator(cls, generator: nnx.Module) -> "Whitening":
        """That of a generator's W, from 4,096 fixed random z through its mapping network."""
        z = np.random.default_rng(0).standard_normal((_NUM_SAMPLES, generator.style_dim))
        batches = np.split(z.astype(np.float32), _NUM_SAMPLES // _BATCH)
        return cls.of(np.concatenate([jax.device_get(_map(generator, x)) for x in batches]))


@jax.jit
def _map(generator: nnx.Module, z: Float[Array, "b d"]) -> Float[Array, "b d"]:
    return generator.map(z)


class Refinement(NamedTuple):
    """Where a refinement stands, so that it can be continued.

    Attributes:
      parts: "shared" [b, 1, d] and "offsets" [b, n, d], whose sum is n + d_i.
      states: the optimizer's, of each part.
    """

    parts: dict[str, Array]
    states: dict[str, Any]

    @classmethod
    def of(cls, whitening: Whitening, w_plus: Float[Array, "b n d"]) -> "Refinement":
        """The refinement that begins with these codes."""
        normal = (w_plus - whitening.mean[None, None]) @ whitening.inverse  # [b, n, d]
        # The median: an encoder may give anything for rows that the generator does not read.
        shared = jnp.median(normal, axis=1, keepdims=True)  # [b, 1, d]
        parts = {"shared": shared, "offsets": normal - shared}
        return cls(parts, {name: _OPTIMIZER.init(part) for name, part in parts.items()})

    def codes(self, whitening: Whitening) -> Float[Array, "b n d"]:
        """The codes as they are by now."""
        return _codes(whitening, self.parts)


@jax.jit
def continue_refinement(
    generator: nnx.Module,
    whitening: Whitening,
    refinement: Refinement,
    images: Float[Array, "b r r 3"],
    steps: Int[Array, "2"],
    num_steps: int | Int[Array, ""],
    identity: nnx.Module | None = None,
) -> Refinement:
    """Some of the steps of `refine_codes`: a caller that takes them in parts can tell how far it is.

    Args:
      generator: what the pictures are compared in; another one may have taken the steps before.
      whitening: of the generator's W.
      refinement: as the steps before have left it.
      images: in [-1, 1], of at most the generator's resolution.
      steps: the first, and the first that is left to another call.
      num_steps: of the whole refinement.
      identity: as for `refine_codes`.
    """
    target = _pyramid(images)
    wanted = None if identity is None else identity(images)

    def loss(parts):
        found = faces_of(generator, _codes(whitening, parts), images.shape[1])
        # Sums over faces, so that a face's gradient is its own.
        errors = [_difference(a, b) for a, b in zip(_pyramid(found), target, strict=True)]
        total = sum(errors) / len(errors)
        total += _STYLE_WEIGHT * _per_face(jnp.square(parts["shared"]))
        total += _OFFSET_WEIGHT * _per_face(jnp.square(parts["offsets"]))
        if identity is not None:
            total += _IDENTITY_WEIGHT * (1.0 - jnp.sum(identity(found) * wanted, axis=1))
        return jnp.sum(total)

    def step(index, carry):
        parts, states = carry
        gradients = jax.grad(loss)(parts)
        moved = {}
        for name, gradient in gradients.items():
            update, state = _OPTIMIZER.update(gradient, states[name])
            moved[name] = (parts[name] + update, state)
        # The offsets' moments begin with their own first step, not with the shared part's.
        is_later = index >= num_steps // 2
        kept = (parts["offsets"], states["offsets"])
        moved["offsets"] = jax.tree.map(
            lambda new, old: jnp.where(is_later, new, old), moved["offsets"], kept
        )
        return Refinement(*({name: pair[i] for name, pair in moved.items()} for i in (0, 1)))

    # Not a scan: any number of steps runs the same compiled code.
    return jax.lax.fori_loop(steps[0], steps[1], step, refinement)


@jax.jit
def refine_codes(
    generator: nnx.Module,
    whitening: Whitening,
    w_plus: Float[Array, "b n d"],
    images: Float[Array, "b r r 3"],
    num_steps: int | Int[Array, ""],
    identity: nnx.Module | None = None,
) -> Float[Array, "b n d"]:
    """Move codes so that their synthesis looks more like the images, by Adam.

    Least absolute differences of pixels and of their gradients at r, r/2, ... 16 pixels, plus
    0.06 mean n^2 + 0.25 mean d_i^2, plus one minus the cosine of the identities. The first half of
    the steps moves n, which all rows share; the others move n and d_i.

    Args:
      generator: what the pictures are compared in.
      whitening: of the generator's W.
      w_plus: codes to start from.
      images: in [-1, 1], of side r, at most the generator's resolution.
      num_steps: of the optimizer, each a forward and a backward pass.
      identity: maps images to embeddings of unit length, which tell whose face it is; None leaves
        that to the pixels.

    Returns:
      The refined codes. Every face is optimized by itself, whatever its neighbors.
    """
    start = Refinement.of(whitening, w_plus)
    steps = jnp.stack([0, num_steps])
    end = continue_refinement(generator, whitening, start, images, steps, num_steps, identity)
    return end.codes(whitening)


def _codes(whitening: Whitening, parts: dict[str, Array]) -> Float[Array, "b n d"]:
    return whitening.mean[None, None] + (parts["shared"] + parts["offsets"]) @ whitening.scale


def _pyramid(images: Float[Array, "b r r 3"]) -> list[Float[Array, "b s s 3"]]:
    """Pictures at r, r/2, ... 16 pixels, or r alone if it is smaller."""
    pictures = [images]
    while pictures[-1].shape[1] >= 2 * _SMALLEST_PICTURE:
        pictures.append(average_pool(pictures[-1], 2))
    return pictures


def _difference(a: Float[Array, "b s s 3"], b: Float[Array, "b s s 3"]) -> Float[Array, " b"]:
    """Mean absolute difference of pixels, plus those of their gradients along rows and columns."""
    difference = a - b
    along = (jnp.diff(difference, axis=axis) for axis in (1, 2))
    return sum(_per_face(jnp.abs(x)) for x in (difference, *along))


def _per_face(x: Float[Array, "b ..."]) -> Float[Array, " b"]:
    return x.reshape(len(x), -1).mean(axis=1)
