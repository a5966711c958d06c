"""The inverse wavelet and the trunk."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdflow_jax.models.mobile_layers import MobileTrunk, inverse_haar


def _haar(images):
    """The forward transform, written down from its definition."""
    a, b = images[:, 0::2, 0::2], images[:, 0::2, 1::2]
    c, d = images[:, 1::2, 0::2], images[:, 1::2, 1::2]
    bands = (a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d)
    return jnp.concatenate([band / 2 for band in bands], axis=-1)


def test_inverse_haar_undoes_the_transform():
    images = jax.random.normal(jax.random.key(0), (2, 8, 6, 3))
    np.testing.assert_allclose(inverse_haar(_haar(images)), images, atol=1e-6)


def test_inverse_haar_keeps_the_energy():
    bands = jax.random.normal(jax.random.key(1), (1, 4, 4, 8))
    np.testing.assert_allclose(
        jnp.square(inverse_haar(bands)).sum(), jnp.square(bands).sum(), rtol=1e-5
    )


def test_each_row_of_a_code_acts_from_its_own_resolution_on():
    trunk = MobileTrunk({4: 8, 8: 8, 16: 4}, 6, rngs=nnx.Rngs(0))
    codes = jax.random.normal(jax.random.key(2), (1, 7, 6))
    plain = trunk(codes, 2)
    first_changed = []
    for row in range(7):
        moved = trunk(codes.at[:, row].add(1.0), 2)
        changed = [not np.allclose(a, b) for a, b in zip(plain, moved, strict=True)]
        first_changed.append(changed.index(True) if any(changed) else None)
    # 4 pixels: row 0; 8: rows 1 and 2; 16: rows 3 and 4; nothing reads the rest.
    assert first_changed == [0, 1, 1, 2, 2, None, None]
