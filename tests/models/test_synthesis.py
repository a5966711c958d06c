import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.models.synthesis import faces_of
from tests.filled_networks import filled_network

TINY = {
    "resolution": 16,
    "style_dim": 6,
    "channels": {"4": 5, "8": 4, "16": 3},
    "num_mapping_layers": 1,
}


def test_faces_are_clipped_and_surplus_rows_refused():
    generator = filled_network("Generator", TINY)
    w_plus = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 6)), jnp.float32) * 50
    assert np.abs(generator.synthesize(w_plus)).max() > 1
    assert np.abs(faces_of(generator, w_plus)).max() <= 1
    assert faces_of(generator, w_plus, size=8).shape == (1, 8, 8, 3)
    with pytest.raises(ValueError, match=r"must be \[b, 6, 6\].* got shape \(1, 7, 6\)"):
        faces_of(generator, jnp.zeros((1, 7, 6)))
