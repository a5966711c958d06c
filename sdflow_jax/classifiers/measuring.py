"""What a classifier says of all faces of a split, and how right it is."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.classifiers.metrics import Score, score_answers
from sdflow_jax.data.labeled_pictures import LabeledPictures
from sdflow_jax.files.atomic import write_text
from sdflow_jax.images.batching import pad_batch
from sdflow_jax.images.pixels import to_signed

Predict = Callable[[nnx.Module, LabeledPictures], Float[np.ndarray, "n k"]]


def make_predict(batch_size: int, *, num_threads: int, prefetch: int) -> Predict:
    """A function of a network and faces that gives the log-odds of every answer; compiled at its first
    call.

    Args:
      batch_size: faces per pass.
      num_threads: pictures decoded at a time.
      prefetch: batches held ready.
    """

    @jax.jit
    def logits_of(network: nnx.Module, images) -> Float[Array, "b k"]:
        return network.logits(to_signed(images))

    def predict(network: nnx.Module, faces: LabeledPictures) -> Float[np.ndarray, "n k"]:
        network = jax.device_put(network)  # once, and not with every batch
        batches = (
            grain.MapDataset.source(faces)
            .batch(batch_size)
            .to_iter_dataset(
                grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
            )
        )
        pieces, waiting = [], None
        for batch in batches:
            result = logits_of(network, pad_batch(batch["image"], batch_size))
            if waiting is not None:  # fetched a batch late, so that the device need not wait
                pieces.append(jax.device_get(waiting))
            waiting = result
        pieces.append(jax.device_get(waiting))
        return np.concatenate(pieces)[: len(faces)]

    return predict


def summary_of(scores: Sequence[Score], names: Sequence[str]) -> dict[str, float]:
    """Means over the questions, `accuracy` and `area`, and each question's own as `area/NAME`."""
    numbers = {
        key: float(np.mean([getattr(score, key) for score in scores]))
        for key in ("accuracy", "area")
    }
    for name, score in zip(names, scores, strict=True):
        numbers[f"accuracy/{name}"], numbers[f"area/{name}"] = score.accuracy, score.area
    return numbers


def write_scores(
    path: str | os.PathLike[str],
    network: nnx.Module,
    splits: Mapping[str, LabeledPictures],
    names: Sequence[str],
    predict: Predict,
) -> dict[str, tuple[Score, ...]]:
    """Measure a network on splits, and write a CSV file with a row for each question and split.

    Returns:
      split -> the scores, in the order of `names`.
    """
    found: dict[str, tuple[Score, ...]] = {}
    rows: list[Sequence[Any]] = [("split", "attribute", *Score._fields)]
    for split, faces in splits.items():
        found[split] = score_answers(predict(network, faces), faces.labels)
        rows += [
            (split, name, score.faces, *(f"{x:.6g}" for x in score[1:]))
            for name, score in zip(names, found[split], strict=True)
        ]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_text(path, text.getvalue())
    return found
