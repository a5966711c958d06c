"""The pocket world's faces: seeds, the teacher that renders them, and the alignments that cut them out.

Splits are by seed, so that no face of one split resembles a face of another more than chance.
"""

import functools
import pathlib
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from flax import nnx
from jaxtyping import UInt8
from numpy.typing import NDArray
from safetensors.numpy import load_file

from sdflow_jax.files import networks
from sdflow_jax.images.batching import map_batches
from sdflow_jax.pocket.teacher import LATENT_DIM, align, teacher_latents, to_uint8

SPLITS = {"train": (0, 56_000), "validation": (56_000, 60_000), "test": (60_000, 64_000)}
WEIGHTS = pathlib.Path(__file__).parent / "weights"
RENDER_BATCH = 128


@functools.partial(jax.jit, static_argnums=0)
def _render(graph: nnx.GraphDef, state, latents, alignments):
    return to_uint8(align(nnx.merge(graph, state)(latents), alignments))


class PocketFaces:
    """An image source: aligned 64x64 faces, rendered on demand from the shipped teacher.

    Args:
      limits: how many faces to take of a split, from its lowest seed on; a split not named is taken whole.
      weights: folder with `teacher.safetensors` and `alignments.safetensors`.

    Raises:
      ValueError: for an unknown split or a limit above the number of faces.
    """

    def __init__(self, limits: Mapping[str, int] | None = None, *, weights: pathlib.Path = WEIGHTS):
        unknown = set(limits or {}) - set(SPLITS)
        if unknown:
            raise ValueError(
                f"unknown pocket split {sorted(unknown)}; splits are {', '.join(SPLITS)}"
            )
        table = load_file(weights / "alignments.safetensors")
        self._seeds = table["seeds"].astype(np.int64)
        self._alignments = table["alignments"].astype(np.float32)
        self._splits: dict[str, NDArray[np.int64]] = {}
        for name, (low, high) in SPLITS.items():
            seeds = self._seeds[(self._seeds >= low) & (self._seeds < high)]
            limit = len(seeds) if limits is None else limits.get(name, len(seeds))
            if not 0 <= limit <= len(seeds):
                raise ValueError(
                    f"pocket split {name!r} has {len(seeds)} faces, {limit} were asked for"
                )
            self._splits[name] = seeds[:limit]
        self._graph, state = nnx.split(networks.load_network(weights / "teacher.safetensors"))
        self._state = nnx.to_pure_dict(state)

    @property
    def image_size(self) -> int:
        """Edge of the square images."""
        return 64

    def num_faces(self, split: str) -> int:
        """How many faces `split` yields."""
        return len(self._splits[split])

    def seeds(self, split: str) -> NDArray[np.int64]:
        """The face ids of a split, which are the seeds of the teacher's latents."""
        return self._splits[split]

    def split(
        self, name: str
    ) -> Iterator[tuple[NDArray[np.int64], UInt8[np.ndarray, "b 64 64 3"]]]:
        """Yield (face ids [b], images) in seed order; b is `RENDER_BATCH` but for the last batch."""
        seeds = self.seeds(name)
        for start in range(0, len(seeds), RENDER_BATCH):
            ids = seeds[start : start + RENDER_BATCH]
            yield ids, self.render(ids)

    def render(
        self, seeds: NDArray[np.int64], *, latent_noise: float = 0.0
    ) -> UInt8[np.ndarray, "b 64 64 3"]:
        """The faces of any seeds that have one, whatever their split.

        Args:
          seeds: at least one.
          latent_noise: deviation of Gaussian noise, the same for a seed at every call, that is added to the
            teacher's latents; the alignment stays.

        Raises:
          KeyError: if no face was found in the render of a seed.
        """
        rows = np.minimum(np.searchsorted(self._seeds, seeds), len(self._seeds) - 1)
        missing = np.asarray(seeds)[self._seeds[rows] != seeds]
        if len(missing):
            raise KeyError(f"no face was found in the render of seed {missing[0]}")
        latents = teacher_latents(seeds)
        if latent_noise:
            draws = [np.random.default_rng((int(s), 1)).standard_normal(LATENT_DIM) for s in seeds]
            latents += np.float32(latent_noise) * np.asarray(draws, np.float32)
        return map_batches(
            functools.partial(_render, self._graph, self._state),
            RENDER_BATCH,
            latents,
            self._alignments[rows],
        )
