"""The frozen attribute classifier C: binary attributes and an ordinal age.

SDFlow, supplementary material; upstream `AttributeClassifier` in `models/attribute_estimator.py`.
One residual network serves all binary attributes, each through a small network of its own; age has
a whole residual network and answers "older than threshold k?" for every threshold.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.conv_norm import batch_norm
from sdflow_jax.models.resnet import ResNet


class ParallelLinear(nnx.Module):
    """One linear layer per attribute: `y[b, a] = x[b, a] @ kernel[a] + bias[a]`."""

    def __init__(self, num_attributes: int, features_in: int, features_out: int, *, rngs: nnx.Rngs):
        init = nnx.initializers.he_normal(batch_axis=0)
        self.kernel = nnx.Param(init(rngs.params(), (num_attributes, features_in, features_out)))
        self.bias = nnx.Param(jnp.zeros((num_attributes, features_out)))

    def __call__(self, x: Float[Array, "b a i"]) -> Float[Array, "b a o"]:
        return jnp.einsum("bai,aio->bao", x, self.kernel[...]) + self.bias[...][None]


class AttributeHeads(nnx.Module):
    """For each attribute its own linear, batch norm, ReLU layers and a last linear layer."""

    def __init__(
        self, num_attributes: int, features_in: int, hidden_sizes: Sequence[int], *, rngs: nnx.Rngs
    ):
        self.num_attributes = num_attributes
        linears, norms = [], []
        for features_out in hidden_sizes:
            linears.append(ParallelLinear(num_attributes, features_in, features_out, rngs=rngs))
            norms.append(batch_norm(num_attributes * features_out, rngs=rngs))
            features_in = features_out
        self.linears = nnx.List(linears)
        self.norms = nnx.List(norms)
        self.output = ParallelLinear(num_attributes, features_in, 1, rngs=rngs)

    def __call__(self, features: Float[Array, "b f"]) -> Float[Array, "b a"]:
        shape = (features.shape[0], self.num_attributes, features.shape[1])
        x = jnp.broadcast_to(features[:, None, :], shape)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = linear(x)  # [b, a, o]
            x = nnx.relu(norm(x.reshape(x.shape[0], -1)).reshape(x.shape))
        return self.output(x)[:, :, 0]


class AttributeClassifier(nnx.Module):
    """Probabilities of face attributes, and of the age exceeding each of a list of thresholds.

    The frozen classifier C of SDFlow (Li et al. 2024, supplementary material; upstream
    `models/attribute_estimator.py`). Called on images [b, h, w, 3] in [-1, 1], it gives [b, k] in
    [0, 1]: the attributes first, then the age thresholds if there are any.

    Args:
      depth: depth of the residual networks, 18, 34 or 50.
      num_attributes: binary attributes, 40 for CelebA.
      num_age_thresholds: outputs of the age network; 0 builds none.
      width: channels of the residual networks' first stage.
      stem_pool: see `ResNet`.
      head_sizes: hidden layers of each attribute's head; `None` is upstream's three layers as wide
        as the features, an empty sequence a single linear layer.
      rngs: source of the initial weights.

    Raises:
      ValueError: for another depth.
    """

    def __init__(
        self,
        depth: int = 34,
        num_attributes: int = 40,
        num_age_thresholds: int = 6,
        width: int = 64,
        stem_pool: bool = True,
        head_sizes: Sequence[int] | None = None,
        *,
        rngs: nnx.Rngs,
    ):
        self.num_attributes = num_attributes
        self.num_age_thresholds = num_age_thresholds
        self.extractor = ResNet(depth, width, stem_pool=stem_pool, rngs=rngs)
        features = self.extractor.num_features
        head_sizes = (features,) * 3 if head_sizes is None else tuple(head_sizes)
        self.heads = AttributeHeads(num_attributes, features, head_sizes, rngs=rngs)
        if num_age_thresholds:
            self.age_extractor = ResNet(depth, width, stem_pool=stem_pool, rngs=rngs)
            self.age_output = nnx.Linear(features, num_age_thresholds, rngs=rngs)

    def stages(self, images: Float[Array, "b h w 3"]) -> list[Float[Array, "b p q c"]]:
        """Feature maps of the attributes' network after each of its four stages, of images in
        [-1, 1], for perceptual distances.
        """
        return self.extractor.stages(images)

    def features(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b f"]:
        """Features that all attribute heads share, of images in [-1, 1]."""
        return self.extractor(images)

    def logits(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b k"]:
        """Log-odds: the attributes first, then the age thresholds if there are any.

        Args:
          images: pixels in [-1, 1].
        """
        logits = self.heads(self.extractor(images))
        if not self.num_age_thresholds:
            return logits
        return jnp.concatenate([logits, self.age_output(self.age_extractor(images))], axis=1)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b k"]:
        """Probabilities, of images in [-1, 1]; the columns are those of `logits`."""
        return nnx.sigmoid(self.logits(images))

    def attribute_probabilities(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b a"]:
        """The attributes' columns of what calling the network gives, without the work of the age network.

        Args:
          images: pixels in [-1, 1].
        """
        return nnx.sigmoid(self.heads(self.extractor(images)))

    def predictions(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b p"]:
        """Decisions in the columns of upstream's `preds`: 0 or 1 per attribute, then the number of
        exceeded thresholds.

        Args:
          images: pixels in [-1, 1].

        Returns:
          [b, 41] for CelebA's attributes with age; without an age network the last column is left
          out.
        """
        decided = (self.logits(images) > 0).astype(jnp.float32)
        if not self.num_age_thresholds:
            return decided
        age = decided[:, self.num_attributes :].sum(axis=1, keepdims=True)
        return jnp.concatenate([decided[:, : self.num_attributes], age], axis=1)
