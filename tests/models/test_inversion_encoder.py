import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax.models.inversion_encoder import InversionEncoder
from tests.filled_networks import filled_network

TINY = {
    "image_size": 32,
    "num_styles": 8,
    "style_dim": 6,
    "widths": (4, 4, 6, 8, 10),
    "units": (1, 1, 1, 1),
    "head_width": 5,
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1.0, 1.0, (2, 32, 32, 3)).astype(np.float32)


@pytest.fixture
def encoder():
    return filled_network("InversionEncoder", TINY)


def test_stage_tells_how_many_styles_differ_from_the_first(encoder, images):
    @jax.jit
    def run(encoder, images):
        return [encoder.codes(images, stage=stage) for stage in (0, 3, None)]

    first, third, last = run(encoder, images)
    np.testing.assert_array_equal(first, np.repeat(first[:, :1], 8, axis=1))
    np.testing.assert_array_equal(third[:, 4:], first[:, 4:])
    np.testing.assert_allclose(third[:, :4], last[:, :4], rtol=1e-5)
    distance = np.abs(last - first).max(axis=(0, 2))
    assert distance[0] < 1e-5 and np.all(distance[1:] > 1e-3)


def test_without_a_base_code_each_style_is_its_heads_own(encoder, images):
    """pSp and e4e differ in nothing else: e4e adds the first head's code to all the others."""
    own = filled_network("InversionEncoder", {**TINY, "base_code": False})
    codes = jax.jit(lambda encoder, images: encoder.codes(images))
    with_base, without = codes(encoder, images), codes(own, images)
    np.testing.assert_allclose(without[:, 0], with_base[:, 0], rtol=0, atol=1e-5)
    base = np.asarray(with_base[:, :1])
    np.testing.assert_allclose(without[:, 1:], with_base[:, 1:] - base, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="offsets from the base code"):
        own.codes(images, stage=3)
    with pytest.raises(ValueError, match="no offsets to scale"):
        InversionEncoder(32, base_code=False, offset_scale=0.3, rngs=nnx.Rngs(0))


def test_average_and_offset_scale_enter_as_documented(encoder, images):
    codes = jax.jit(lambda encoder, images: encoder.codes(images))(encoder, images)
    average = np.random.default_rng(1).normal(size=(8, 6)).astype(np.float32)
    encoder.latent_average[...] = average
    encoder.offset_scale = 0.25
    w_plus = jax.jit(lambda encoder, images: encoder(images))(encoder, images)
    base = codes[:, :1]
    np.testing.assert_allclose(w_plus, base + 0.25 * (codes - base) + average[None], atol=1e-5)


def test_every_parameter_receives_a_gradient(encoder, images):
    encoder.train()

    @nnx.jit
    def gradients(encoder, images):
        return nnx.grad(lambda e: jnp.square(e(images) - 1.0).sum())(encoder)

    grads = nnx.to_pure_dict(gradients(encoder, images))
    flat = jax.tree_util.tree_flatten_with_path(grads)[0]
    silent = [jax.tree_util.keystr(path) for path, g in flat if not np.abs(g).max() > 0.0]
    assert not silent


def test_average_is_no_parameter(encoder):
    assert "latent_average" not in nnx.to_pure_dict(nnx.state(encoder, nnx.Param))


def test_heads_halve_their_map_down_to_one_pixel():
    encoder = nnx.eval_shape(lambda: InversionEncoder(256, 18, rngs=nnx.Rngs(0)))
    assert [len(head.convs) for head in encoder.heads] == [4] * 3 + [5] * 4 + [6] * 11


@pytest.mark.parametrize("image_size", [16, 48, 0])
def test_image_size_must_be_a_power_of_two(image_size):
    with pytest.raises(ValueError, match="power of two and at least 32"):
        InversionEncoder(image_size, rngs=nnx.Rngs(0))


def test_images_of_another_size_are_refused(encoder):
    with pytest.raises(ValueError, match=r"takes images of shape \(b, 32, 32, 3\)"):
        encoder(jnp.zeros((1, 64, 64, 3)))
