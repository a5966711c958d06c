"""The losses of the Latent Transformer (Yao et al. 2021, section 3.2).

A latent classifier H, trained first and then frozen, says which attributes a code w has. The
transformer T of attribute k turns it to the opposite, `w' = w + (y - p_k) T(w)`, where p_k is H's
probability and y = 1 where p_k <= 1/2, else 0. Three terms:

  classification  cross-entropy of H(w')_k and y
  attribute       mean over i of ((1 - gamma_ki) (H(w')_i - H(w)_i))^2, of the logits
  reconstruction  mean of (w' - w)^2

gamma_ki is the absolute correlation of the attributes over the training faces: what usually comes
along with the attribute may come along with the edit. The terms are upstream's `compute_loss`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from sdflow_jax.methods.latent_transformer.networks import AttributeTransformers, LatentClassifier

TERMS = ("classification", "attribute", "reconstruction")


def latent_classifier_loss(
    classifier: LatentClassifier,
    w_plus: Float[Array, "b n d"],
    predictions: Float[Array, "b p"],
) -> Float[Array, ""]:
    """Mean cross-entropy, in nats, of the latent classifier with the image classifier's
    probabilities.
    """
    logits = classifier.logits(w_plus)
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, predictions))


def transformer_losses(
    transformers: AttributeTransformers,
    classifier: LatentClassifier,
    w_plus: Float[Array, "b n d"],
    *,
    columns: Sequence[int],
    correlation: Float[Array, "p p"],
) -> dict[str, Float[Array, ""]]:
    """The three terms, unweighted, summed over the transformers, which share no weight.

    Each is a mean over the batch and over what is compared. In the cross-entropy the two directions
    weigh the same, however rare one of them is in the batch.

    Args:
      transformers: one for each of `columns`.
      classifier: the frozen latent classifier.
      w_plus: codes.
      columns: where the edited attributes stand among the classifier's.
      correlation: gamma, of all the classifier's attributes.
    """
    before = classifier.logits(w_plus)
    terms = {name: jnp.zeros(()) for name in TERMS}
    for transformer, column in zip(transformers.transformers, columns, strict=True):
        probability = jax.nn.sigmoid(before[:, column])
        target = jnp.where(probability > 0.5, 0.0, 1.0)
        edited = transformer(w_plus, target - probability)
        after = classifier.logits(edited)
        surprise = optax.sigmoid_binary_cross_entropy(after[:, column], target)
        others = (1.0 - jnp.asarray(correlation)[column]).at[column].set(0.0)
        kept = jnp.mean((others[None] * (after - before)) ** 2, 1)
        terms["classification"] += jnp.mean(_balanced(target) * surprise)
        terms["attribute"] += jnp.mean(kept)
        terms["reconstruction"] += jnp.mean((edited - w_plus) ** 2)
    return terms


def _balanced(target: Float[Array, " b"]) -> Float[Array, " b"]:
    """Weights of mean 2 by which both directions count the same; 1 where only one occurs."""
    share = jnp.mean(target)
    weights = target / jnp.maximum(share, 1e-6) + (1 - target) / jnp.maximum(1 - share, 1e-6)
    return jnp.where((share > 0) & (share < 1), weights, 1.0)
