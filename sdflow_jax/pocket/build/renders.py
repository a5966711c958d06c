"""Pictures of codes by the renderer, and what published networks read from them, kept as they accumulate."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray
from tqdm import tqdm

from sdflow_jax.evaluation.published_readers import FaceReadings, PublishedReaders
from sdflow_jax.files.atomic import write_atomic
from sdflow_jax.images.resizing import average_pool
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
      batch_size: codes rendered at once; divides `CHUNK`.

    Raises:
      ImportError: if the published networks are not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    make, render, read = CodeMaker(generator), _renderer(generator, batch_size), PublishedReaders()
    starts = range(0, len(seeds), CHUNK)
    for start in tqdm(starts, desc="renders", unit=f"{CHUNK} faces"):
        chunk = np.asarray(seeds[start : start + CHUNK])
        file = _file(folder, chunk[0])
        if file.exists():
            continue
        codes = make(chunk)
        large = render(codes.w_plus())
        arrays = {"pictures": _halved(large), **codes._asdict()}
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
        images = module.synthesize(w_plus, resolution=READ_SIZE, dtype=dtype)
        return jnp.rint((jnp.clip(images, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8)

    def render_all(w_plus):
        # All are asked for before the first is fetched, so that the device never waits.
        starts = range(0, len(w_plus), batch_size)
        parts = [render(state, w_plus[i : i + batch_size]) for i in starts]
        return np.concatenate([np.asarray(part) for part in parts])

    return render_all


@jax.jit
def _pooled(pictures):
    means = average_pool(pictures.astype(jnp.float32), READ_SIZE // KEPT_SIZE)
    return jnp.rint(means).astype(jnp.uint8)


def _halved(pictures):
    return np.asarray(_pooled(pictures))
