import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.models import refinement
from sdflow_jax.models.identity_encoder import unit_norm
from sdflow_jax.models.refinement import Whitening, refine_codes
from tests.filled_networks import filled_network

SIZE, DIM = 16, 6
ARGUMENTS = {
    "resolution": SIZE,
    "style_dim": DIM,
    "channels": {"4": 8, "8": 8, "16": 8},
    "num_mapping_layers": 1,
}


@pytest.fixture(scope="module")
def generator():
    generator = filled_network("Generator", ARGUMENTS)
    for layer in generator.mapping:  # stored divided by their learning rate of 0.01
        layer.kernel[...] = 100 * layer.kernel[...]
    return generator


@pytest.fixture(scope="module")
def whitening(generator):
    return Whitening(*map(np.asarray, Whitening.of_generator(generator)))


@pytest.fixture(scope="module")
def faces(generator):
    """Codes of W of two faces, and their images."""
    z = np.random.default_rng(1).standard_normal((2, DIM)).astype(np.float32)
    w_plus = generator.broadcast(generator.map(jnp.asarray(z)))
    return w_plus, jnp.clip(generator.synthesize(w_plus), -1, 1)


def offsets(whitening, w_plus):
    normal = (np.asarray(w_plus) - whitening.mean) @ whitening.inverse
    return normal - np.median(normal, axis=1, keepdims=True)


def test_samples_of_w_are_white(generator, whitening):
    z = np.random.default_rng(2).standard_normal((20_000, DIM)).astype(np.float32)
    n = (np.asarray(generator.map(jnp.asarray(z))) - whitening.mean) @ whitening.inverse
    # Both sides are estimates: of 4,096 and of 20,000 samples.
    np.testing.assert_allclose(n.mean(axis=0), 0, atol=5 / np.sqrt(4096))
    np.testing.assert_allclose(np.cov(n.T), np.eye(DIM), atol=8 / np.sqrt(4096))
    np.testing.assert_allclose(whitening.scale @ whitening.inverse, np.eye(DIM), atol=1e-4)


def test_a_direction_without_variance_keeps_a_little():
    w = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 1.0, 0.0]
    assert np.isfinite(Whitening.of(w).inverse).all()


def test_no_steps_change_nothing(generator, whitening, faces):
    w_plus, images = faces
    found = refine_codes(generator, whitening, w_plus, images, 0)
    np.testing.assert_allclose(found, w_plus, atol=1e-4)


def test_codes_come_closer_to_their_pictures_and_stay_near_w(generator, whitening, faces):
    w_plus, images = faces
    # The average face, with rows that wander off W.
    noise = np.random.default_rng(3).normal(size=w_plus.shape) @ np.asarray(whitening.scale)
    start = jnp.asarray(whitening.mean + 0.5 * noise, jnp.float32)
    found = refine_codes(generator, whitening, start, images, 40)

    def distance(codes):
        return np.abs(np.clip(generator.synthesize(codes), -1, 1) - images).mean(axis=(1, 2, 3))

    assert (distance(found) < 0.6 * distance(start)).all()
    assert np.square(offsets(whitening, found)).mean() < np.square(offsets(whitening, start)).mean()


def test_the_first_half_of_the_steps_moves_what_all_rows_share(generator, whitening, faces):
    w_plus, images = faces
    start = np.broadcast_to(whitening.mean, w_plus.shape)
    # Of one step, none is in the first half; of the two below, one.
    moved = offsets(whitening, refine_codes(generator, whitening, start, images, 2))
    # Adam's first step is the learning rate wherever there is a gradient.
    assert np.abs(moved).max() < 2.1 * refinement._LEARNING_RATE
    assert np.abs(moved).max() > 0.5 * refinement._LEARNING_RATE


def test_a_face_is_refined_by_itself(generator, whitening, faces):
    w_plus, images = faces
    start = np.broadcast_to(whitening.mean, w_plus.shape)
    found = refine_codes(generator, whitening, start, images, 3)
    # The same face beside another neighbor.
    images = jnp.stack([images[0], images[0]])
    again = refine_codes(generator, whitening, start, images, 3)
    np.testing.assert_allclose(found[0], again[0], atol=1e-4)
    assert np.abs(found[1] - again[1]).max() > 1e-2


def test_identity_is_kept_where_a_network_tells_it(generator, whitening, faces):
    w_plus, images = faces
    start = np.broadcast_to(whitening.mean, w_plus.shape)
    directions = jnp.asarray(np.random.default_rng(5).standard_normal((SIZE * SIZE * 3, 4)))

    def identity(pictures):
        return unit_norm(pictures.reshape(len(pictures), -1) @ directions.astype(jnp.float32))

    def cosine(codes):
        found = identity(jnp.clip(generator.synthesize(codes), -1, 1))
        return (found * identity(images)).sum(1)

    without = refine_codes(generator, whitening, start, images, 20)
    found = refine_codes(generator, whitening, start, images, 20, jax.tree_util.Partial(identity))
    assert (cosine(found) > cosine(without)).all() and (cosine(found) > 0.99).all()


def test_pictures_smaller_than_the_smallest_of_the_pyramid_are_compared_as_they_are():
    images = jax.numpy.zeros((1, 8, 8, 3))
    assert [x.shape[1] for x in refinement._pyramid(images)] == [8]
    assert [x.shape[1] for x in refinement._pyramid(jnp.zeros((1, 64, 64, 3)))] == [64, 32, 16]
