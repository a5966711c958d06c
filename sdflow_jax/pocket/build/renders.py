"""Pictures of codes by the renderer, and what published networks read from them, kept as they accumulate."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from sdflow_jax.evaluation.published_readers import FaceReadings
from sdflow_jax.evaluation.readers_pool import ReadersPool
from sdflow_jax.files.atomic import write_atomic
from sdflow_jax.files.bars import Bar
from sdflow_jax.images.batching import map_batches
from sdflow_jax.images.pixels import to_bytes_on_device
from sdflow_jax.images.resizing import pool_bytes
from sdflow_jax.pocket.build.codes import FREE_SEEDS, CodeMaker, Codes

CHUNK = 500  # faces in a file
READ_SIZE = 256  # pixels, of the renders that are read
KEPT_SIZE = 128  # pixels, of the renders that are kept


class Renders(NamedTuple):
    """Faces of the build.

    Attributes:
      seeds: [n].
      codes: of the faces.
      pictures: [n, 128, 128, 3], 8-bit.
      readings: of the faces below `FREE_SEEDS`; NaN for the others.
    """

    seeds: NDArray[np.int64]
    codes: Codes
    pictures: NDArray[np.uint8]
    readings: FaceReadings


def render_chunks(
    generator: nnx.Module, seeds: Sequence[int], folder: pathlib.Path, *, batch_size: int
) -> None:
    """Render and read what `folder` lacks of the faces of `seeds`.

    Args:
      generator: a `MobileStyleGAN`.
      seeds: a multiple of `CHUNK`, consecutive within each chunk.
      folder: gets a file for each chunk.
      batch_size: codes rendered at once.

    Raises:
      ImportError: if the published networks are not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    make, render, read = CodeMaker(generator), _renderer(generator, batch_size), ReadersPool()
    starts = range(0, len(seeds), CHUNK)
    for start in Bar(starts, desc="renders", unit=f"{CHUNK} faces"):
        chunk = np.asarray(seeds[start : start + CHUNK])
        file = _file(folder, chunk[0])
        if file.exists():
            continue
        codes = make(chunk)
        large = render(codes.w_plus())
        arrays = {
            "pictures": np.asarray(pool_bytes(large, READ_SIZE // KEPT_SIZE)),
            **codes._asdict(),
        }
        if chunk[0] < FREE_SEEDS:
            arrays |= vars(read(large))
        write_atomic(file, lambda stream, arrays=arrays: np.savez(stream, **arrays))


def load_renders(folder: pathlib.Path, seeds: Sequence[int]) -> Renders:
    """What `render_chunks` has left for these seeds.

    Raises:
      FileNotFoundError: if a chunk is missing.
    """
    pieces = [np.load(_file(folder, first)) for first in seeds[::CHUNK]]
    unread = FaceReadings.nothing(CHUNK)
    readings = [
        FaceReadings(**{name: piece[name] for name in vars(unread)}) if "age" in piece else unread
        for piece in pieces
    ]
    return Renders(
        np.asarray(seeds),
        Codes(*(np.concatenate([piece[name] for piece in pieces]) for name in Codes._fields)),
        np.concatenate([piece["pictures"] for piece in pieces]),
        FaceReadings(
            *(np.concatenate([getattr(r, name) for r in readings]) for name in vars(unread))
        ),
    )


def _file(folder: pathlib.Path, first: int) -> pathlib.Path:
    return folder / f"{first:07d}.npz"


def _renderer(generator, batch_size):
    """A function from codes to 8-bit pictures of `READ_SIZE`."""
    graph, state = nnx.split(generator)
    state = nnx.to_pure_dict(state)
    # On an accelerator the feature maps of 512 pixels are what takes the time.
    dtype = None if jax.default_backend() == "cpu" else jnp.bfloat16

    @jax.jit
    def render(state, w_plus):
        module = nnx.merge(graph, state)
        return to_bytes_on_device(module.synthesize(w_plus, resolution=READ_SIZE, dtype=dtype))

    return lambda w_plus: map_batches(lambda part: render(state, part), batch_size, w_plus)
