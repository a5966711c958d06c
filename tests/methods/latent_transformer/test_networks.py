import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax.methods.latent_transformer.networks import LatentClassifier, LatentTransformer


def test_edit_is_linear_in_the_strength_and_affine_in_each_style():
    editor = LatentTransformer(num_styles=2, style_dim=3, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    bias, codes = rng.random((2, 3), np.float32), rng.random((2, 2, 3), np.float32)
    editor.bias[...] = jnp.asarray(bias)
    kernel = np.asarray(editor.kernel[...])
    edited = editor(codes, np.array([0.0, -2.0], np.float32))
    np.testing.assert_array_equal(edited[0], codes[0])
    for row in range(2):
        direction = codes[1, row] @ kernel[row] / np.sqrt(3) + bias[row]
        np.testing.assert_allclose(edited[1, row], codes[1, row] - 2 * direction, rtol=1e-5)


def test_transformer_of_one_row_maps_every_row_alike():
    editor = LatentTransformer(num_styles=1, style_dim=3, rngs=nnx.Rngs(0))
    codes = np.random.default_rng(0).random((2, 4, 3), np.float32)
    strength = np.array([0.5, -2.0], np.float32)
    edited = editor(codes, strength)
    for row in range(4):
        alone = editor(codes[:, row : row + 1], strength)
        np.testing.assert_allclose(edited[:, row : row + 1], alone, rtol=1e-5)


def test_classifier_gives_probabilities():
    classifier = LatentClassifier(2, 3, hidden_sizes=(4,), num_attributes=5, rngs=nnx.Rngs(0))
    codes = 100 * np.ones((2, 2, 3), np.float32)
    logits = np.asarray(classifier.logits(codes), np.float64)
    assert logits.shape == (2, 5)
    np.testing.assert_allclose(classifier(codes), 1 / (1 + np.exp(-logits)), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 6), (1, 3, 2), (2, 3)])
def test_codes_of_another_shape_are_refused(shape):
    codes = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match=r"expected codes of shape \(b, 2, 3\)"):
        LatentTransformer(2, 3, rngs=nnx.Rngs(0)).direction(codes)
    with pytest.raises(ValueError, match=r"expected codes of shape \(b, 2, 3\)"):
        LatentClassifier(2, 3, (4,), 1, rngs=nnx.Rngs(0)).logits(codes)
