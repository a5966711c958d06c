import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax.files import networks
from sdflow_jax.methods.interfacegan.directions import AttributeDirections
from sdflow_jax.methods.latent_editing import LatentEditing, export_editing
from sdflow_jax.methods.latent_transformer.networks import AttributeTransformers
from sdflow_jax.methods.registry import find_method
from tests.filled_networks import filled_network

ATTRIBUTES = ("Young", "Male")


class MeanColors(nnx.Module):
    """Reads the mean red and the mean green of images as two semantic variables."""

    def __call__(self, images):
        return (images.mean((1, 2))[:, :2] + 1) / 2


def editing_with(mover):
    return LatentEditing(mover, MeanColors(), attributes=ATTRIBUTES, image_size=4)


def filled_transformers():
    mover = AttributeTransformers(2, 3, 4, rngs=nnx.Rngs(0))
    for k, transformer in enumerate(mover.transformers):
        values = np.random.default_rng(k).standard_normal((3, 4, 4)).astype(np.float32)
        transformer.kernel.set_value(jnp.asarray(values))
    return mover


def test_target_as_read_changes_nothing_and_twice_the_change_goes_twice_as_far():
    mover = AttributeDirections(2, 3, 4, rngs=nnx.Rngs(0))
    directions = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    mover.directions.set_value(jnp.asarray(directions))
    editing = editing_with(mover)
    w_plus = np.ones((2, 3, 4), np.float32)
    images = np.random.default_rng(1).uniform(-1, 1, (2, 4, 4, 3)).astype(np.float32)
    code, read = editing.encode(w_plus, images)
    np.testing.assert_allclose(read, (images.mean((1, 2))[:, :2] + 1) / 2, atol=1e-6)
    np.testing.assert_array_equal(editing.decode(code, read), w_plus)
    target = np.array([[0.25, -0.5]], np.float32)
    once, twice = (np.asarray(editing.decode(code, read + k * target)) for k in (1, 2))
    expected = w_plus + 0.25 * directions[0] - 0.5 * directions[1]
    np.testing.assert_allclose(once, expected, atol=1e-5)
    np.testing.assert_allclose(twice - w_plus, 2 * (once - w_plus), atol=1e-5)


def test_transformers_act_one_after_the_other():
    mover = filled_transformers()
    w_plus = np.random.default_rng(5).standard_normal((2, 3, 4)).astype(np.float32)
    change = np.array([[0.5, -1.0], [0.0, 2.0]], np.float32)
    expected = w_plus.astype(np.float64)
    for k, transformer in enumerate(mover.transformers):
        kernel = np.asarray(transformer.kernel[...], np.float64) / np.sqrt(4)
        step = np.einsum("bni,nio->bno", expected, kernel)
        expected = expected + change[:, k, None, None] * step
    np.testing.assert_allclose(mover(w_plus, change), expected, atol=1e-5)


@pytest.mark.parametrize("method", ["interfacegan", "latent_transformer"])
def test_editing_survives_its_files(tmp_path, method):
    classifier = {
        "depth": 18,
        "num_attributes": 2,
        "num_age_thresholds": 0,
        "width": 2,
        "stem_pool": False,
        "head_sizes": [],
    }
    arguments = {"classifier": classifier, "columns": [1, 0]}
    reader = filled_network("ChosenAttributes", arguments)
    if method == "interfacegan":
        mover = AttributeDirections(2, 3, 4, rngs=nnx.Rngs(0))
        mover.directions.set_value(jnp.arange(24.0).reshape(2, 3, 4))
    else:
        mover = filled_transformers()
    editing = LatentEditing(mover, reader, attributes=ATTRIBUTES, image_size=16)
    export_editing(
        tmp_path,
        method,
        editing,
        mover_arguments={"num_attributes": 2, "num_styles": 3, "style_dim": 4},
        reader_arguments=arguments,
    )
    loaded = find_method(method).load(tmp_path)
    assert loaded.attributes == ATTRIBUTES and loaded.image_size == 16
    assert loaded.reader == "training classifier"
    w_plus = np.ones((2, 3, 4), np.float32)
    images = np.random.default_rng(1).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(loaded.read(images), reader.classifier(images)[:, ::-1], rtol=1e-5)
    target = np.array([[0.2, 0.9], [0.4, 0.1]], np.float32)
    code, _ = loaded.encode(w_plus, images)
    np.testing.assert_allclose(
        loaded.decode(code, target), editing.decode(editing.encode(w_plus, images)[0], target)
    )


def test_run_that_has_not_finished_says_so(tmp_path):
    with pytest.raises(networks.NetworkFileError, match="has the training in .* finished"):
        find_method("interfacegan").load(tmp_path)
