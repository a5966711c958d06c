import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from sdflow_jax.models.resnet import ResNet


@pytest.mark.parametrize(
    ("depth", "stem_pool", "sides", "channels"),
    [
        (18, True, [16, 8, 4, 2], [8, 16, 32, 64]),
        (18, False, [32, 16, 8, 4], [8, 16, 32, 64]),
        (50, True, [16, 8, 4, 2], [32, 64, 128, 256]),
    ],
)
def test_stages_halve_the_image_and_widen(depth, stem_pool, sides, channels):
    def run(images):
        network = ResNet(depth, 8, stem_pool=stem_pool, rngs=nnx.Rngs(0))
        return network.stages(images), network(images)

    maps, features = jax.eval_shape(run, jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32))
    assert [m.shape for m in maps] == [(2, s, s, c) for s, c in zip(sides, channels, strict=True)]
    assert features.shape == (2, channels[-1])


def test_num_features_tells_the_width_of_the_features():
    network = nnx.eval_shape(lambda: ResNet(50, 8, rngs=nnx.Rngs(0)))
    assert network.num_features == 8 * 8 * 4


def test_unknown_depth_is_refused():
    with pytest.raises(ValueError, match="depth 18, 34, 50; got 101"):
        ResNet(101, rngs=nnx.Rngs(0))
