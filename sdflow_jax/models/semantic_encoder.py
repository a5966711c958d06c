"""The semantic encoder E_s: the semantic variables of an image, learned together with the flow.

SDFlow, method section; upstream `AttributeEstimator` in `models/attribute_estimator.py`.
"""

import itertools
from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.conv_norm import he_normal
from sdflow_jax.models.resnet import ResNet


class SemanticEncoder(nnx.Module):
    """Residual network with linear layers on its features and a sigmoid per semantic variable.

    The semantic encoder E_s of SDFlow (Li et al. 2024, method section; upstream
    `AttributeEstimator` in `models/attribute_estimator.py`). Called on images [b, h, w, 3] in
    [-1, 1], it gives semantic variables [b, a] in [0, 1].

    Args:
      num_attributes: number of semantic variables.
      depth: depth of the residual network, 18, 34 or 50.
      width: channels of its first stage.
      stem_pool: see `ResNet`.
      hidden_sizes: layers between the features and the output; two make the paper's three linear
        layers, none is what upstream's code and its checkpoints have.
      rngs: source of the initial weights.

    Raises:
      ValueError: for another depth.
    """

    def __init__(
        self,
        num_attributes: int,
        depth: int = 34,
        width: int = 64,
        stem_pool: bool = True,
        hidden_sizes: Sequence[int] = (512, 512),
        *,
        rngs: nnx.Rngs,
    ):
        self.num_attributes = num_attributes
        self.backbone = ResNet(depth, width, stem_pool=stem_pool, rngs=rngs)
        sizes = (self.backbone.num_features, *hidden_sizes)
        self.hidden = nnx.List(
            [
                nnx.Linear(i, o, kernel_init=he_normal, rngs=rngs)
                for i, o in itertools.pairwise(sizes)
            ]
        )
        self.output = nnx.Linear(sizes[-1], num_attributes, rngs=rngs)

    def logits(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b a"]:
        """Semantic variables before the sigmoid, of images with pixels in [-1, 1]."""
        x = self.backbone(images)
        for layer in self.hidden:
            x = nnx.relu(layer(x))
        return self.output(x)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b a"]:
        """Semantic variables in [0, 1], of images with pixels in [-1, 1]."""
        return nnx.sigmoid(self.logits(images))
