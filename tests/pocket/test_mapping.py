"""The mapping network takes a Gaussian to the codes' mean and covariance."""

import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.files import networks
from sdflow_jax.pocket.build.mapping import fit_mapping

STYLE_DIM = 8
GENERATOR = {"resolution": 8, "style_dim": STYLE_DIM, "channels": {"4": 4, "8": 4}}


def normal(count, seed):
    return np.random.default_rng(seed).standard_normal((count, STYLE_DIM)).astype(np.float32)


@pytest.mark.parametrize("num_layers", [2, 3, 4])
def test_samples_have_the_codes_mean_and_covariance(num_layers):
    codes = normal(500, seed=1) @ normal(STYLE_DIM, seed=2) + normal(1, seed=3)
    generator = networks.build("Generator", {**GENERATOR, "num_mapping_layers": num_layers})
    fit_mapping(generator, codes)
    w = np.asarray(generator.map(jnp.asarray(normal(100_000, seed=4))))
    scale = codes.std()
    np.testing.assert_allclose(w.mean(axis=0), codes.mean(axis=0), atol=0.02 * scale)
    np.testing.assert_allclose(
        np.cov(w, rowvar=False), np.cov(codes, rowvar=False), atol=0.03 * scale**2
    )
    np.testing.assert_allclose(generator.w_average[...], codes.mean(axis=0), atol=1e-5)
