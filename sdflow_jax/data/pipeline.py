"""Batches of faces for training: shuffled, endless, and able to continue from a saved position."""

from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np

from sdflow_jax.data.image_source import DataError

Batch = dict[str, np.ndarray]


# What training may read of a face.
FIELDS = ("image", "w_plus", "predictions")


class ChooseAttributes(grain.transforms.Map):
    """Keep some columns of a face's `predictions`, and drop what training does not read."""

    def __init__(self, columns: Sequence[int]):
        self._columns = np.asarray(columns)

    def map(self, face: Mapping[str, Any]) -> dict[str, Any]:
        chosen = {name: face[name] for name in FIELDS if name in face}
        return {**chosen, "predictions": face["predictions"][self._columns]}


def training_batches(
    faces: Any,
    columns: Sequence[int],
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
    prefetch: int = 4,
) -> grain.DatasetIterator:
    """Endless batches, reshuffled every epoch; epochs do not mix and the incomplete last batch is
    dropped.

    Args:
      faces: random access to faces with `FIELDS` or some of them, as from `open_split`, and
        `predictions` among them.
      columns: the predictions to keep, in this order.
      batch_size: faces per batch over all processes.
      seed: of the order.
      process_index: this process's share of the faces is every `process_count`-th from here.
      process_count: processes that train together.
      num_threads: faces decoded at a time.
      prefetch: batches held ready.

    Returns:
      An iterator over {"image" uint8 [b, R, R, 3], "w_plus" [b, n, d], "predictions" [b, a]}, or what
      the faces have of it, where b is this process's share of the batch. Its `get_state()` is only
      the number of batches taken: compare `describe_batches` before `set_state`, or it restores to
      other data without complaint.

    Raises:
      DataError: if the processes cannot share the batch evenly, or there are too few faces for one
        batch.
    """
    return shuffled_batches(
        faces,
        batch_size=batch_size,
        seed=seed,
        process_index=process_index,
        process_count=process_count,
        num_threads=num_threads,
        prefetch=prefetch,
        transform=ChooseAttributes(columns),
    )


def shuffled_batches(
    faces: Any,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
    prefetch: int = 4,
    transform: grain.transforms.Map | None = None,
) -> grain.DatasetIterator:
    """The same of faces of any kind, mappings of arrays, each as `transform` makes it.

    Raises:
      DataError: as for `training_batches`.
    """
    if batch_size % process_count:
        raise DataError(
            f"batch_size {batch_size} must be a multiple of the {process_count} processes"
        )
    share = faces_of_process(faces, seed, process_index, process_count)
    local_size = batch_size // process_count
    if len(share) < local_size:
        raise DataError(
            f"a batch of {batch_size} needs at least as many faces, got {len(faces)};"
            " build a larger data set or lower config.training.batch_size"
        )
    share = share.shuffle()
    if transform is not None:
        share = share.map(transform)
    batches = share.batch(local_size, drop_remainder=True).repeat()
    return iter(
        batches.to_iter_dataset(
            grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
        )
    )


def faces_of_process(
    faces: Any, seed: int, process_index: int, process_count: int
) -> grain.MapDataset:
    """This process's part of the faces, seeded for the shuffling that follows."""
    return grain.MapDataset.source(faces).seed(seed)[process_index::process_count]


def describe_batches(
    recipe_name: str,
    num_faces: int,
    columns: Sequence[int],
    *,
    batch_size: int,
    seed: int,
    process_count: int,
) -> dict[str, Any]:
    """What decides which faces the k-th batch holds; a saved position is only right for an equal
    description.
    """
    return {
        "data": recipe_name,
        "num_faces": num_faces,
        "columns": list(columns),
        "batch_size": batch_size,
        "seed": seed,
        "process_count": process_count,
    }
