"""The generator: shared weights against a grouped convolution, and the gradient of frozen weights."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.timing import Comparison, compare, count_operations
from sdflow_jax.files import networks
from sdflow_jax.models.stylegan2 import Generator


def grouped_modulated_conv(x, kernel, style):
    """The original formulation: a kernel for every image, and a convolution with as many groups as images."""
    batch, height, width, features = x.shape
    kernels = kernel[None] * style[:, None, None, :, None]
    kernels *= jax.lax.rsqrt(jnp.square(kernels).sum((1, 2, 3), keepdims=True) + 1e-8)
    out = kernels.shape[-1]
    merged = kernels.transpose(1, 2, 3, 0, 4).reshape(*kernel.shape[:3], batch * out)
    side_by_side = x.transpose(1, 2, 0, 3).reshape(1, height, width, batch * features)
    y = jax.lax.conv_general_dilated(
        side_by_side,
        merged,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=batch,
    )
    return y.reshape(height, width, batch, out).transpose(2, 0, 1, 3)


def shared_modulated_conv(x, kernel, style):
    """The same numbers: scale the input, convolve once, scale the output."""
    y = jax.lax.conv_general_dilated(
        x * style[:, None, None, :],
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    energy = jnp.square(style) @ jnp.square(kernel).sum((0, 1))
    return y * jax.lax.rsqrt(energy + 1e-8)[:, None, None, :]


def comparisons(*, is_large: bool) -> Iterator[Comparison]:
    """Compare at pocket size, or at 1024 pixels."""
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (16, 32, 32, 48))
    kernel = jax.random.normal(keys[1], (3, 3, 48, 48))
    style = jax.random.normal(keys[2], (16, 48))
    shared, grouped = jax.jit(shared_modulated_conv), jax.jit(grouped_modulated_conv)
    with jax.default_matmul_precision("float32"):  # an accelerator's rounding is no difference
        difference = jnp.abs(shared(x, kernel, style) - grouped(x, kernel, style)).max()
    if difference > 1e-3:
        raise ValueError(f"the two formulations differ by {difference}")
    yield compare(
        "modulated 3x3 convolution, 16 x 32 x 32 x 48",
        ("one shared kernel", lambda: shared(x, kernel, style)),
        ("a kernel for each image", lambda: grouped(x, kernel, style)),
        operations=count_operations(shared_modulated_conv, x, kernel, style),
    )
    if is_large:
        generator, batch = Generator(1024, rngs=nnx.Rngs(0)), 1
    else:
        generator, batch = networks.load_network("pocket:generator"), 16
    graph, parameters, rest = nnx.split(generator, nnx.Param, ...)
    parameters, rest = nnx.to_pure_dict(parameters), nnx.to_pure_dict(rest)
    shape = (batch, generator.num_styles, generator.style_dim)
    w_plus = jax.random.normal(keys[3], shape)

    def energy(w_plus, parameters):
        images = nnx.merge(graph, parameters, rest, copy=True).synthesize(w_plus)
        return jnp.square(images).sum()

    frozen = jax.jit(jax.grad(energy))
    unfrozen = jax.jit(jax.grad(energy, argnums=(0, 1)))
    yield compare(
        f"gradient through the {generator.resolution}px generator, batch {batch}",
        ("of W+ alone", lambda: frozen(w_plus, parameters)),
        ("of W+ and the frozen weights", lambda: unfrozen(w_plus, parameters)),
        operations=count_operations(jax.grad(energy), w_plus, parameters),
        faces=batch,
    )
