"""The residual unit of the face recognition networks, and their body.

Deng et al., "ArcFace" (2019), section 3.1; Hu et al., "Squeeze-and-excitation networks" (2018).
The e4e encoder and the IR-SE50 recognition network share it (upstream `models/e4e/helpers.py`),
InsightFace's iresnet is a variant.
"""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.conv_norm import PReLU, batch_norm, conv

SQUEEZE_FACTOR = 16


class SqueezeExcitation(nnx.Module):
    """Scale each channel by a gate computed from all channels' means."""

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.squeeze = conv(features, max(features // SQUEEZE_FACTOR, 1), 1, rngs=rngs)
        self.excite = conv(max(features // SQUEEZE_FACTOR, 1), features, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        means = x.mean((1, 2), keepdims=True)
        return x * nnx.sigmoid(self.excite(nnx.relu(self.squeeze(means))))


class ImprovedResidualUnit(nnx.Module):
    """Batch norm, 3x3 convolution, PReLU, strided 3x3 convolution, batch norm, added to the input.

    Args:
      features_in: channels of the input.
      features_out: channels of the output.
      stride: of the second convolution.
      squeeze_excitation: gate the channels of the result before the addition.
      insightface: the variant of InsightFace's iresnet, which also normalizes between the first
        convolution and the PReLU, and projects the input whenever the stride is not 1, even with
        the channels unchanged (the others then take every second pixel).
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        stride: int,
        *,
        squeeze_excitation: bool = False,
        insightface: bool = False,
        rngs: nnx.Rngs,
    ):
        self.stride = stride
        self.input_norm = batch_norm(features_in, rngs=rngs)
        self.conv_in = conv(features_in, features_out, 3, rngs=rngs)
        self.middle_norm = batch_norm(features_out, rngs=rngs) if insightface else None
        self.activation = PReLU(features_out)
        self.conv_out = conv(features_out, features_out, 3, stride=stride, rngs=rngs)
        self.output_norm = batch_norm(features_out, rngs=rngs)
        self.gate = SqueezeExcitation(features_out, rngs=rngs) if squeeze_excitation else None
        projects = features_in != features_out or (insightface and stride != 1)
        self.projection = (
            conv(features_in, features_out, 1, stride=stride, rngs=rngs) if projects else None
        )
        self.projection_norm = batch_norm(features_out, rngs=rngs) if projects else None

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b p q o"]:
        if self.projection is not None:
            skip = self.projection_norm(self.projection(x))
        else:
            skip = x[:, :: self.stride, :: self.stride]
        x = self.conv_in(self.input_norm(x))
        if self.middle_norm is not None:
            x = self.middle_norm(x)
        x = self.output_norm(self.conv_out(self.activation(x)))
        if self.gate is not None:
            x = self.gate(x)
        return x + skip


class FaceStem(nnx.Module):
    """The networks' first layer: 3x3 convolution at full size, batch norm, PReLU."""

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.conv = conv(3, features, 3, rngs=rngs)
        self.norm = batch_norm(features, rngs=rngs)
        self.activation = PReLU(features)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w c"]:
        return self.activation(self.norm(self.conv(images)))


class FaceBody(nnx.Module):
    """Stem and four stages; each stage halves the image in its first unit.

    Args:
      widths: channels of the stem and of the four stages.
      units: residual units per stage.
      squeeze_excitation: see `ImprovedResidualUnit`.
      insightface: see `ImprovedResidualUnit`.

    Raises:
      ValueError: if there are not five widths and four positive unit counts.
    """

    def __init__(
        self,
        widths: Sequence[int],
        units: Sequence[int],
        *,
        squeeze_excitation: bool = False,
        insightface: bool = False,
        rngs: nnx.Rngs,
    ):
        if len(widths) != 5 or len(units) != 4 or min(*widths, *units) < 1:
            raise ValueError(
                "a face network needs 5 positive widths (stem and 4 stages) and 4 positive unit"
                f" counts, got widths {list(widths)} and units {list(units)}"
            )
        self.stem = FaceStem(widths[0], rngs=rngs)
        stages = []
        for features_in, features_out, num_units in zip(
            widths[:-1], widths[1:], units, strict=True
        ):
            stages.append(
                nnx.List(
                    [
                        ImprovedResidualUnit(
                            features_out if unit else features_in,
                            features_out,
                            stride=1 if unit else 2,
                            squeeze_excitation=squeeze_excitation,
                            insightface=insightface,
                            rngs=rngs,
                        )
                        for unit in range(num_units)
                    ]
                )
            )
        self.layers = nnx.List(stages)

    def __call__(self, images: Float[Array, "b h w 3"]) -> list[Float[Array, "b p q c"]]:
        """Feature maps after each stage, at 1/2, 1/4, 1/8 and 1/16 of the image size."""
        x = self.stem(images)
        maps = []
        for units in self.layers:
            for unit in units:
                x = unit(x)
            maps.append(x)
        return maps


def check_image_size(images: Float[Array, "b h w 3"], size: int, network: str) -> None:
    """Raise ValueError unless `images` are RGB and `size` pixels square."""
    if images.ndim != 4 or images.shape[1:] != (size, size, 3):
        raise ValueError(
            f"{network} takes images of shape (b, {size}, {size}, 3), got {images.shape};"
            " resize them to its input size (and put channels last)"
        )
