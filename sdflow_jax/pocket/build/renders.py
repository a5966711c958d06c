"""Pictures of codes by the renderer, kept in the build's folder as they accumulate."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray
from tqdm import tqdm

from sdflow_jax.pocket.build.codes import CodeMaker, Codes

CHUNK = 1000


class Renderer:
    """8-bit pictures of codes.

    Args:
      generator: a `MobileStyleGAN`.
      resolution: of the pictures.
      batch_size: codes rendered at once.
    """

    def __init__(self, generator: nnx.Module, resolution: int, batch_size: int):
        graph, state = nnx.split(generator)
        self._state = nnx.to_pure_dict(state)
        self._batch_size = batch_size
        # On an accelerator the feature maps of 512 pixels are what takes the time.
        dtype = None if jax.default_backend() == "cpu" else jnp.bfloat16

        @jax.jit
        def render(state, w_plus):
            module = nnx.merge(graph, state)
            images = module.synthesize(w_plus, resolution=resolution, dtype=dtype)
            return jnp.rint((jnp.clip(images, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8)

        self._render = render

    def __call__(self, w_plus: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Render codes [b, 18, 512], b a multiple of the batch size."""
        starts = range(0, len(w_plus), self._batch_size)
        # All are asked for before the first is fetched, so that the device never waits.
        parts = [self._render(self._state, w_plus[i : i + self._batch_size]) for i in starts]
        return np.concatenate([np.asarray(part) for part in parts])


def render_chunks(
    generator: nnx.Module,
    seeds: NDArray[np.int64],
    folder: pathlib.Path,
    *,
    resolution: int,
    batch_size: int,
) -> None:
    """Render what `folder` lacks of the pictures of `seeds`, `CHUNK` to a file.

    Args:
      seeds: a multiple of `CHUNK`.
      resolution: of the pictures.
      batch_size: codes rendered at once; divides `CHUNK`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    make, render = CodeMaker(generator), Renderer(generator, resolution, batch_size)
    for first in tqdm(
        range(0, len(seeds), CHUNK), desc=f"renders of {resolution} px", unit="kface"
    ):
        chunk = seeds[first : first + CHUNK]
        file = folder / f"{chunk[0]:07d}.npz"
        if file.exists():
            continue
        codes = make(chunk)
        partial = file.with_suffix(".partial")
        with partial.open("wb") as stream:
            np.savez(stream, pictures=render(codes.w_plus()), **codes._asdict())
        partial.rename(file)


def load_chunks(folder: pathlib.Path, seeds: NDArray[np.int64]) -> tuple[Codes, NDArray[np.uint8]]:
    """The codes and pictures [n, r, r, 3] that `render_chunks` has left for these seeds.

    Raises:
      FileNotFoundError: if a chunk is missing.
    """
    pieces = [np.load(folder / f"{first:07d}.npz") for first in seeds[::CHUNK]]
    codes = Codes(*(np.concatenate([piece[name] for piece in pieces]) for name in Codes._fields))
    return codes, np.concatenate([piece["pictures"] for piece in pieces])
