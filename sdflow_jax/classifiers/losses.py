"""Cross-entropy with labels of which some are unknown and some answers are rare."""

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int8

from sdflow_jax.data.attribute_labels import UNKNOWN


def answer_weights(labels: Int8[np.ndarray, "n k"], balance: float) -> Float32[np.ndarray, "2 k"]:
    """What each answer weighs: its frequency to the power of `-balance`, and 1 in the mean over the
    labels of a question.

    At 1 both answers of a question weigh the same in sum, however rare one is; a network that learns
    so says "has it" more often than it is right. At 0 each label weighs the same.

    Args:
      labels: of the training split, in which each question has both answers.
      balance: in [0, 1].

    Returns:
      The weights of 0 (first row) and 1.
    """
    counts = np.stack([(labels == answer).sum(0) for answer in (0, 1)])
    shares = counts / counts.sum(0)
    weights = shares**-balance
    return (weights / (shares * weights).sum(0)).astype(np.float32)


def known_cross_entropy(
    logits: Float[Array, "b k"], labels: Int8[Array, "b k"], weights: Float[Array, "2 k"]
) -> Float[Array, ""]:
    """Weighted cross-entropy in nats, a mean over the labels that are known; 0 where none is.

    Args:
      logits: log-odds that the answer is 1.
      labels: 0, 1 or `UNKNOWN`.
      weights: as by `answer_weights`.
    """
    is_known, is_so = labels != UNKNOWN, labels == 1
    surprise = optax.sigmoid_binary_cross_entropy(logits, is_so.astype(logits.dtype))
    weighted = jnp.where(is_so, weights[1][None], weights[0][None]) * surprise
    return _mean_of_known(weighted, is_known)


def known_accuracy(logits: Float[Array, "b k"], labels: Int8[Array, "b k"]) -> Float[Array, ""]:
    """The share of the known labels that are answered right; 0 where none is known."""
    is_right = (logits > 0) == (labels == 1)
    return _mean_of_known(is_right.astype(logits.dtype), labels != UNKNOWN)


def _mean_of_known(values, is_known):
    count = jnp.maximum(is_known.sum(), 1).astype(values.dtype)
    return jnp.where(is_known, values, 0.0).sum() / count
