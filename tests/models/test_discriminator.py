import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from converters.correspondence import CONV, VECTOR, Entry, flattened_linear, linear, to_flax
from converters.torch_reader import read_checkpoint
from sdflow_jax import networks
from sdflow_jax.models.discriminator import minibatch_deviation, r1_penalty
from tests.filled_networks import filled_arrays

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "nvidia_pkl"

TINY = {"resolution": 8, "channels": {"4": 4, "8": 3}, "group_size": 1}


@pytest.fixture(scope="module")
def discriminator():
    arrays = filled_arrays("Discriminator", TINY)
    module = nnx.eval_shape(lambda: networks.build("Discriminator", TINY))
    # Equalized layers scale their kernels themselves, so those are of unit variance.
    unit = {key: x / x.std() if key.endswith("kernel") else x for key, x in arrays.items()}
    networks.load_arrays(module, unit, source="test")
    return module


def _images(batch, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, 8, 8, 3)), jnp.float32)


def test_minibatch_deviation_is_the_mean_over_features_of_each_group():
    x = np.random.default_rng(0).normal(size=(8, 2, 2, 3)).astype(np.float32)
    found = minibatch_deviation(jnp.asarray(x), 4)
    assert found.shape == (8, 2, 2, 1)
    for first in (0, 1):  # every second image belongs to the same group
        deviation = np.sqrt(x[first::2].var(axis=0) + 1e-8).mean()
        np.testing.assert_allclose(found[first::2], deviation, rtol=1e-5)


def test_groups_shrink_to_a_divisor_of_the_batch():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2, 2, 3)), jnp.float32)
    np.testing.assert_allclose(minibatch_deviation(x, 4), minibatch_deviation(x, 3))
    np.testing.assert_allclose(minibatch_deviation(x[:1], 4), 1e-4, rtol=1e-3)


def test_r1_is_the_squared_gradient_at_each_image(discriminator):
    @jax.jit
    def measure(images):
        gradient = jax.grad(lambda x: jnp.sum(discriminator(x)))(images)
        step = 1e-3 * gradient / jnp.sqrt(jnp.sum(jnp.square(gradient), (1, 2, 3), keepdims=True))
        rise = (discriminator(images + step) - discriminator(images - step)) / 2e-3
        return rise, r1_penalty(discriminator, images)

    # Straight up the gradient, the score rises by the gradient's length. Two images, in groups of one.
    rise, penalty = measure(_images(2))
    np.testing.assert_allclose(rise, jnp.sqrt(penalty), rtol=2e-2)


def test_images_do_not_matter_to_each_other_without_groups(discriminator):
    scores = jax.jit(discriminator)(_images(4))
    assert scores.shape == (4,)
    assert len(np.unique(scores)) == 4
    np.testing.assert_allclose(jax.jit(discriminator)(_images(4)[:2]), scores[:2], rtol=1e-4)


def test_images_of_another_size_are_rejected(discriminator):
    with pytest.raises(
        ValueError, match=r"images must be \[b, 8, 8, 3\], got shape \(2, 16, 16, 3\)"
    ):
        discriminator(jnp.zeros((2, 16, 16, 3)))


def _nvidia_entries():
    convs = {"b32.fromrgb": "from_rgb", "b4.conv": "last_conv"}
    for i, resolution in enumerate((32, 16, 8)):
        names = {"conv0": "conv", "conv1": "shrink", "skip": "skip"}
        convs |= {f"b{resolution}.{old}": f"blocks/{i}/{new}" for old, new in names.items()}
    entries = [Entry(f"{old}.weight", f"{new}/kernel", CONV) for old, new in convs.items()]
    entries += [
        Entry(f"{old}.bias", f"{new}/bias", VECTOR)
        for old, new in convs.items()
        if not old.endswith("skip")
    ]
    entries += linear("b4.fc", "last_hidden", flattened_linear(4))
    return entries + linear("b4.out", "score")


def test_logits_are_those_of_nvidias_discriminator():
    state_dict = read_checkpoint(GOLDEN / "tiny32.pkl")["D"]["state_dict"]
    kernels = {k: x for k, x in state_dict.items() if not k.endswith("resample_filter")}
    arguments = {"resolution": 32, "channels": {"4": 32, "8": 32, "16": 32, "32": 16}}
    arrays = to_flax(kernels, _nvidia_entries(), "Discriminator", arguments, source="D")
    module = nnx.eval_shape(lambda: networks.build("Discriminator", arguments))
    networks.load_arrays(module, arrays, source="D")
    with np.load(GOLDEN / "tiny32.npz") as golden:
        images = golden["G_ema.image.psi1"].transpose(0, 2, 3, 1)
        scores = jax.jit(lambda images: module(images))(images)
        np.testing.assert_allclose(scores, golden["D.logits"][:, 0], rtol=0, atol=1e-4)
