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

from sdflow_jax import networks
from sdflow_jax.pocket.teacher import align, teacher_latents, to_uint8

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
        seeds, alignments = table["seeds"].astype(np.int64), table["alignments"].astype(np.float32)
        self._faces: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        for name, (low, high) in SPLITS.items():
            rows = np.flatnonzero((seeds >= low) & (seeds < high))
            limit = len(rows) if limits is None else limits.get(name, len(rows))
            if not 0 <= limit <= len(rows):
                raise ValueError(
                    f"pocket split {name!r} has {len(rows)} faces, {limit} were asked for"
                )
            self._faces[name] = seeds[rows[:limit]], alignments[rows[:limit]]
        self._graph, state = nnx.split(networks.load_network(weights / "teacher.safetensors"))
        self._state = nnx.to_pure_dict(state)

    @property
    def image_size(self) -> int:
        """Edge of the square images."""
        return 64

    def num_faces(self, split: str) -> int:
        """How many faces `split` yields."""
        return len(self._faces[split][0])

    def seeds(self, split: str) -> NDArray[np.int64]:
        """The face ids of a split, which are the seeds of the teacher's latents."""
        return self._faces[split][0]

    def split(
        self, name: str
    ) -> Iterator[tuple[NDArray[np.int64], UInt8[np.ndarray, "b 64 64 3"]]]:
        """Yield (face ids [b], images) in seed order; b is `RENDER_BATCH` but for the last batch."""
        seeds, alignments = self._faces[name]
        for start in range(0, len(seeds), RENDER_BATCH):
            ids = seeds[start : start + RENDER_BATCH]
            spare = RENDER_BATCH - len(
                ids
            )  # the last batch is filled up, so that one program serves all
            images = _render(
                self._graph,
                self._state,
                teacher_latents(np.pad(ids, (0, spare), mode="edge")),
                np.pad(alignments[start : start + RENDER_BATCH], ((0, spare), (0, 0)), mode="edge"),
            )
            yield ids, np.asarray(images)[: len(ids)]
