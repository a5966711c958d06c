"""What is read off faces whose generator stopped early, against what is read off whole faces.

    python -m benchmarks.fidelity
    python -m benchmarks.fidelity --generator=networks/generator.safetensors \
        --reader=runs/classifier/classifier.safetensors --read-at=256 --resolutions=256,512

That is what `config.losses.image_resolution` costs the mutual information loss: there the semantic
encoder sees the generator's sum of colors up to that resolution in place of the whole face, either
reduced to the pixels that it reads. Without options: the pocket world's test faces, its generator and
its trained encoder. With others' networks: samples of that generator, and a classifier as the reader.
"""

import argparse
import functools
import sys
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.files import networks
from sdflow_jax.files.attribute_names import attribute_names
from sdflow_jax.images.batching import map_batches
from sdflow_jax.images.resizing import crop_and_resize
from sdflow_jax.models.synthesis import render
from sdflow_jax.pocket.faces import pocket_faces

_POCKET = "pocket:generator"
_TRUNCATION, _BATCH = 0.9, 8
HEADER = (
    "| stopped at | read | correlation | mean difference | at most | other side of 1/2 |\n"
    "|---|---|---|---|---|---|"
)


@functools.partial(jax.jit, static_argnames=("read_at", "resolution"))
def readings(
    generator: nnx.Module,
    reader: nnx.Module,
    w_plus: Float[Array, "b n d"],
    *,
    read_at: int,
    resolution: int | None,
) -> Float[Array, "b a"]:
    """Semantic variables in [0, 1] of faces that were synthesised up to a resolution, as the loss sees them."""
    faces = crop_and_resize(render(generator, w_plus, resolution=resolution), read_at)
    read = getattr(reader, "attribute_probabilities", reader)
    return read(faces)


def codes_of(generator: nnx.Module, file: str, num_faces: int) -> Float[np.ndarray, "b n d"]:
    """Latents of the pocket world's test faces, or of samples of another generator."""
    if file == _POCKET:
        return pocket_faces(num_faces).w_plus
    z = np.random.default_rng(0).standard_normal((num_faces, generator.style_dim), np.float32)
    w_plus = generator.truncate(generator.broadcast(generator.map(z)), _TRUNCATION)
    return np.asarray(w_plus)


def rows(
    generator_file: str, reader_file: str, read_at: int, resolutions: Sequence[int], num_faces: int
) -> Iterator[str]:
    """Rows under `HEADER`, one for each resolution and attribute."""
    generator, reader = (networks.load_network(file) for file in (generator_file, reader_file))
    reader.eval()
    names = attribute_names(networks.read_metadata(reader_file))
    w_plus = codes_of(generator, generator_file, num_faces)

    def read(resolution: int | None) -> Float[np.ndarray, "b a"]:
        function = functools.partial(
            readings, generator, reader, read_at=read_at, resolution=resolution
        )
        return map_batches(function, _BATCH, w_plus)

    whole = read(None)
    for resolution in resolutions:
        stopped = read(resolution)
        for name, of_whole, of_stopped in zip(names, whole.T, stopped.T, strict=True):
            apart = np.abs(of_whole - of_stopped)
            changed = np.mean((of_whole > 0.5) != (of_stopped > 0.5))
            yield (
                f"| {resolution} | {name} | {np.corrcoef(of_whole, of_stopped)[0, 1]:.4f} |"
                f" {apart.mean():.4f} | {apart.max():.3f} | {changed:.1%} |"
            )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fidelity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--generator", default=_POCKET, metavar="FILE", help="(%(default)s)")
    parser.add_argument(
        "--reader",
        default="pocket:semantic_encoder",
        metavar="FILE",
        help="a semantic encoder or a classifier (%(default)s)",
    )
    parser.add_argument("--read-at", type=int, default=64, help="pixels that it reads (64)")
    parser.add_argument("--resolutions", default="32,64", help="at which to stop (%(default)s)")
    parser.add_argument("--num-faces", type=int, default=200, help="(200)")
    chosen = parser.parse_args()
    resolutions = [int(word) for word in chosen.resolutions.split(",")]
    print(f"{chosen.num_faces} faces, read at {chosen.read_at} pixels", file=sys.stderr)
    print(HEADER)
    for row in rows(chosen.generator, chosen.reader, chosen.read_at, resolutions, chosen.num_faces):
        print(row, flush=True)


if __name__ == "__main__":
    main()
