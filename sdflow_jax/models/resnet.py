"""Residual networks of depth 18, 34 and 50 (He et al., "Deep residual learning", 2016).

The stride of a bottleneck sits on its 3x3 convolution, as in torchvision. No classification layer:
the networks that use the features bring their own.
"""

from typing import NamedTuple

from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.conv_norm import batch_norm, conv


class Layout(NamedTuple):
    """Units in each of the four stages, and whether a unit is a bottleneck."""

    units: tuple[int, int, int, int]
    bottleneck: bool


LAYOUTS = {
    18: Layout((2, 2, 2, 2), False),
    34: Layout((3, 4, 6, 3), False),
    50: Layout((3, 4, 6, 3), True),
}
BOTTLENECK_EXPANSION = 4


class ResidualUnit(nnx.Module):
    """Normalized convolutions added to their input: 3x3, 3x3; as a bottleneck 1x1, 3x3, 1x1."""

    def __init__(
        self, features_in: int, width: int, stride: int, *, bottleneck: bool, rngs: nnx.Rngs
    ):
        if bottleneck:
            features_out = width * BOTTLENECK_EXPANSION
            plan = (
                (features_in, width, 1, 1),
                (width, width, 3, stride),
                (width, features_out, 1, 1),
            )
        else:
            features_out = width
            plan = ((features_in, width, 3, stride), (width, width, 3, 1))
        self.convs = nnx.List([conv(i, o, size, stride=s, rngs=rngs) for i, o, size, s in plan])
        self.norms = nnx.List([batch_norm(o, rngs=rngs) for _, o, _, _ in plan])
        self.has_projection = stride != 1 or features_in != features_out
        if self.has_projection:
            self.projection = conv(features_in, features_out, 1, stride=stride, rngs=rngs)
            self.projection_norm = batch_norm(features_out, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b p q o"]:
        skip = self.projection_norm(self.projection(x)) if self.has_projection else x
        for i, (layer, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(layer(nnx.relu(x) if i else x))
        return nnx.relu(x + skip)


class ResNet(nnx.Module):
    """Image features of a residual network, averaged over the image.

    Args:
      depth: 18, 34 or 50.
      width: channels of the first stage; each later stage doubles them (64 in the paper).
      stem_pool: whether the stem max-pools after its strided convolution, as in the paper; small
        images (64 pixels) keep more detail without.

    Raises:
      ValueError: for another depth.
    """

    def __init__(self, depth: int, width: int = 64, *, stem_pool: bool = True, rngs: nnx.Rngs):
        if depth not in LAYOUTS:
            raise ValueError(f"a ResNet has depth {', '.join(map(str, LAYOUTS))}; got {depth}")
        layout = LAYOUTS[depth]
        expansion = BOTTLENECK_EXPANSION if layout.bottleneck else 1
        self.stem_pool = stem_pool
        self.stem = conv(3, width, 7, stride=2, rngs=rngs)
        self.stem_norm = batch_norm(width, rngs=rngs)
        features = width
        stages = []
        for stage, num_units in enumerate(layout.units):
            units = []
            for unit in range(num_units):
                stride = 2 if stage > 0 and unit == 0 else 1
                stage_width = width * 2**stage
                units.append(
                    ResidualUnit(
                        features, stage_width, stride, bottleneck=layout.bottleneck, rngs=rngs
                    )
                )
                features = stage_width * expansion
            stages.append(nnx.List(units))
        self.layers = nnx.List(stages)
        self.num_features = features

    def stages(self, images: Float[Array, "b h w 3"]) -> list[Float[Array, "b p q c"]]:
        """Feature maps after each of the four stages, at 1/4 to 1/32 of the image size (1/2 to
        1/16 without pooling).

        Args:
          images: pixels in [-1, 1]; the networks here take them without ImageNet normalization.
        """
        x = nnx.relu(self.stem_norm(self.stem(images)))
        if self.stem_pool:
            x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        maps = []
        for units in self.layers:
            for unit in units:
                x = unit(x)
            maps.append(x)
        return maps

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b f"]:
        return self.stages(images)[-1].mean((1, 2))
