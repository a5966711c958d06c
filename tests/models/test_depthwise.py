"""The depthwise convolution against the compiler's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.models.depthwise import depthwise_convolve


def _by_groups(images, kernel):
    return jax.lax.conv_general_dilated(
        images,
        kernel[:, :, None, :],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=kernel.shape[-1],
    )


@pytest.mark.parametrize("argument", [0, 1])
def test_values_and_gradients_are_those_of_a_grouped_convolution(argument):
    keys = jax.random.split(jax.random.key(0), 3)
    images = jax.random.normal(keys[0], (2, 5, 7, 3))
    kernel = jax.random.normal(keys[1], (3, 3, 3))
    cotangent = jax.random.normal(keys[2], images.shape)

    def loss(function):
        return lambda *inputs: (function(*inputs) * cotangent).sum()

    np.testing.assert_allclose(
        depthwise_convolve(images, kernel), _by_groups(images, kernel), atol=1e-5
    )
    ours = jax.grad(loss(depthwise_convolve), argument)(images, kernel)
    theirs = jax.grad(loss(_by_groups), argument)(images, kernel)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_works_in_reduced_precision():
    images = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    assert depthwise_convolve(images, jnp.ones((3, 3, 2))).dtype == jnp.bfloat16
