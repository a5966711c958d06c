import numpy as np

from sdflow_jax.data.training_latents import correlations
from tests.data.correlated_latents import correlated_latents


def test_correlations_are_absolute_and_zero_for_a_constant():
    latents = correlated_latents()
    predictions = np.concatenate([latents.predictions, np.full((400, 1), 0.3)], 1)
    predictions[:, 1] *= -1
    found = correlations(predictions)
    expected = np.abs(np.corrcoef(latents.predictions.T))
    np.testing.assert_allclose(found[:2, :2], expected, atol=1e-9)
    np.testing.assert_array_equal(found[2], 0)
