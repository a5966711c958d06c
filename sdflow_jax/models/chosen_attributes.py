"""Semantic variables without a semantic encoder: some attributes of the frozen classifier C.

What StyleFlow and the first rows of SDFlow's ablation condition on (Li et al. 2024, section 3.3).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.attribute_classifier import AttributeClassifier


class ChosenAttributes(nnx.Module):
    """Some columns of an attribute classifier's probabilities, in a given order.

    Args:
      classifier: constructor arguments of the `AttributeClassifier`.
      columns: which of its attributes are the semantic variables.

    Raises:
      ValueError: if the classifier has fewer attributes.
    """

    def __init__(self, classifier: Mapping[str, Any], columns: Sequence[int], *, rngs: nnx.Rngs):
        self.classifier = AttributeClassifier(**classifier, rngs=rngs)
        self.columns = tuple(columns)
        # Indexing an array of jax's out of its bounds gives the last column without complaint.
        if any(column >= self.classifier.num_attributes for column in self.columns):
            raise ValueError(
                f"expected columns below the classifier's {self.classifier.num_attributes}"
                f" attributes, got {self.columns}"
            )

    @property
    def num_attributes(self) -> int:
        """Number of semantic variables."""
        return len(self.columns)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b a"]:
        return self.classifier.attribute_probabilities(images)[:, jnp.asarray(self.columns)]
