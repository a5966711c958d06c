"""What the gradient through the 1024-pixel generator keeps, and whether computing it again would pay.

    python -m benchmarks.memory

For each way one row: the bytes that are kept of every face between the way there and back, the
operations, and the temporary memory that XLA plans for a batch on this device (`memory_analysis`), which
the schedule of another device changes. "Recomputed" means that `jax.checkpoint` keeps only what
enters a resolution, of 256 pixels and above, and computes its layers again on the way back.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.files import networks
from sdflow_jax.models.resample import upsample
from sdflow_jax.models.stylegan2 import Generator

_RESOLUTION, _RECOMPUTED_FROM = 1024, 256
HEADER = (
    "| feature maps in | up to | recomputed | kept, MB a face | operations, billions | temporary, GB |\n"
    "|---|---|---|---|---|---|"
)


def synthesize(
    generator: Generator,
    w_plus: Float[Array, "b n d"],
    *,
    dtype: str,
    resolution: int,
    is_recomputed: bool,
) -> Float[Array, "b r r 3"]:
    """As `Generator.synthesize` does, or with each large resolution computed again for the gradient."""
    if not is_recomputed:
        return generator.synthesize(w_plus, resolution=resolution, dtype=jnp.dtype(dtype))
    x = jnp.broadcast_to(generator.constant[...][None], (len(w_plus), 4, 4, 512)).astype(dtype)

    def layer(index: int, x: Array) -> Array:
        conv = generator.convs[index]
        return conv(x, w_plus[:, index], conv.noise[...][None])

    def block(index: int, x: Array, image: Array) -> tuple[Array, Array]:
        x = layer(2 * index, layer(2 * index - 1, x))
        return x, upsample(image) + generator.to_rgbs[index](x, w_plus[:, 2 * index + 1])

    x = layer(0, x)
    image = generator.to_rgbs[0](x, w_plus[:, 1])
    for index in range(1, generator.resolutions.index(resolution) + 1):
        of_index = functools.partial(block, index)
        if generator.resolutions[index] >= _RECOMPUTED_FROM:
            of_index = jax.checkpoint(of_index)
        x, image = of_index(x, image)
    return image


def row(batch_size: int, *, dtype: str, resolution: int, is_recomputed: bool) -> str:
    """One row under `HEADER`; nothing is computed, only planned."""
    generator = networks.build_abstract("Generator", {"resolution": _RESOLUTION})
    graph, arrays = nnx.split(generator)

    def brightness(arrays, w_plus: Float[Array, "b n d"]) -> Float[Array, ""]:
        faces = synthesize(
            nnx.merge(graph, arrays),
            w_plus,
            dtype=dtype,
            resolution=resolution,
            is_recomputed=is_recomputed,
        )
        return jnp.square(jnp.clip(faces, -1.0, 1.0)).sum()

    def codes(batch_size: int) -> jax.ShapeDtypeStruct:
        shape = (batch_size, generator.num_styles, generator.style_dim)
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def kept(batch_size: int) -> int:
        def way_back(arrays, w_plus):
            return jax.vjp(functools.partial(brightness, arrays), w_plus)[1]

        residuals = jax.tree.leaves(jax.eval_shape(way_back, arrays, codes(batch_size)))
        return sum(x.size * x.dtype.itemsize for x in residuals)

    # Two faces less one: the weights, which all faces share, do not count.
    of_a_face = kept(2) - kept(1)
    gradient = jax.jit(jax.grad(brightness, argnums=1)).lower(arrays, codes(batch_size))
    compiled = gradient.compile(_quickly())
    return (
        f"| {dtype} | {resolution} | {'yes' if is_recomputed else 'no'} | {of_a_face / 1e6:.0f} |"
        f" {compiled.cost_analysis()['flops'] / 1e9:.0f} |"
        f" {compiled.memory_analysis().temp_size_in_bytes / 1e9:.2f} |"
    )


def _quickly() -> dict[str, int] | None:
    """Nothing is run: the processor's code need not be good."""
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, help="faces, of the last two columns (1)"
    )
    batch_size = parser.parse_args().batch_size
    print(HEADER)
    for dtype in ("float32", "bfloat16"):
        for resolution in (1024, 256):
            for is_recomputed in (False, True):
                print(
                    row(
                        batch_size,
                        dtype=dtype,
                        resolution=resolution,
                        is_recomputed=is_recomputed,
                    ),
                    flush=True,
                )


if __name__ == "__main__":
    main()
