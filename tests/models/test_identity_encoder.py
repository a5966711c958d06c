import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax.models.identity_encoder import IdentityEncoder, unit_norm
from sdflow_jax.models.iresnet import IResNet
from tests.filled_networks import filled_network


def test_embeddings_have_unit_length():
    arguments = {"image_size": 32, "embedding_dim": 6, "widths": [4, 4, 8, 8, 8]}
    encoder = filled_network("IdentityEncoder", {**arguments, "units": [1, 1, 1, 1]})
    images = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 32, 32, 3)).astype(np.float32)
    embeddings = jax.jit(lambda encoder, images: encoder(images))(encoder, images)
    assert embeddings.shape == (2, 6)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, rtol=1e-5)
    assert np.linalg.norm(embeddings[0] - embeddings[1]) > 1e-3


def test_unit_norm_of_a_zero_vector_is_zero():
    x = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(unit_norm(x), [[0.0, 0.0], [0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("network", [IdentityEncoder, lambda **kw: IResNet(depth=18, **kw)])
def test_images_of_another_size_are_refused(network):
    encoder = nnx.eval_shape(lambda: network(image_size=32, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"\(b, 32, 32, 3\), got \(1, 3, 32, 32\)"):
        encoder(jnp.zeros((1, 3, 32, 32)))
    with pytest.raises(ValueError, match="multiple of 16"):
        network(image_size=100, rngs=nnx.Rngs(0))


def test_unknown_depth_is_refused():
    with pytest.raises(ValueError, match="depth 18, 34, 50, 100; got 20"):
        IResNet(20, rngs=nnx.Rngs(0))
