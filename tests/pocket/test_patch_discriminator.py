"""The pocket autoencoder's adversary: what it sees, and that it learns what blur is."""

import jax
import numpy as np
import optax
from flax import nnx

from sdflow_jax.pocket.build.augmentation import blur
from sdflow_jax.pocket.build.patch_discriminator import (
    PatchDiscriminator,
    adversary_loss,
    smoothness_penalty,
)


def images(count, seed):
    noise = np.random.default_rng(seed).normal(size=(count, 32, 32, 3)).astype(np.float32)
    return 0.3 * np.asarray(blur(noise))


def test_a_logit_for_every_sixteen_pixels():
    assert PatchDiscriminator(rngs=nnx.Rngs(0))(images(2, 0)).shape == (2, 2, 2)


def test_smoothness_penalty_is_the_squared_gradient_of_the_mean_logit():
    discriminator = PatchDiscriminator((4, 4), rngs=nnx.Rngs(0))
    real = images(2, 0)
    gradient = jax.grad(lambda x: discriminator(x[None]).mean())
    norms = [float((np.asarray(gradient(x)) ** 2).sum()) for x in real]
    np.testing.assert_allclose(
        float(smoothness_penalty(discriminator, real)), np.mean(norms), rtol=1e-4
    )


def test_it_learns_to_tell_sharp_from_blurred():
    discriminator = PatchDiscriminator((8, 8), rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(discriminator, optax.adam(5e-3, b1=0.5), wrt=nnx.Param)

    @nnx.jit
    def update(discriminator, optimizer, real, fake):
        grads = nnx.grad(adversary_loss)(discriminator, real, fake)
        optimizer.update(discriminator, grads)

    for index in range(80):
        update(discriminator, optimizer, images(8, 2 * index), blur(images(8, 2 * index + 1)))
    real, fake = images(32, 1000), images(32, 1001)
    assert float(adversary_loss(discriminator, real, blur(fake))) < 0.3
    # Both sharp: nothing to tell apart, and being sure of it costs.
    assert float(adversary_loss(discriminator, real, fake)) > 2 * np.log(2)
