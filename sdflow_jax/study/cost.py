"""What an edit costs in time."""

import pathlib
import statistics
import time

import jax
import numpy as np

from sdflow_jax.data import face_latents
from sdflow_jax.data.prepared import prepare_data
from sdflow_jax.evaluation.source_faces import encode_pictures, face_batches
from sdflow_jax.evaluation.strength_sweep import edit_latents
from sdflow_jax.files.run_config import load_config
from sdflow_jax.methods.registry import load_method
from sdflow_jax.methods.settings import read_shared_settings

_BATCH_SIZE = 16
_REPEATS = 7


def milliseconds_per_edit(workdir: pathlib.Path, split: str) -> float:
    """The median time of an edit of one face's latents, from what was read to the edited latents, in batches of
    16, compiled: what a further edit of a face costs. Neither reading the face nor making the picture is in it,
    which are the same for all methods.

    Args:
      workdir: of a finished run.
      split: of the faces.
    """
    method = load_method(workdir)
    settings = read_shared_settings(load_config(workdir))
    dataset = prepare_data(settings.data, settings.networks, workdir)
    faces = face_latents.open_split(dataset, split)
    (batch,) = face_batches(faces, min(_BATCH_SIZE, len(faces)), _BATCH_SIZE)
    (code, variables), _ = encode_pictures(method, batch["w_plus"], batch["image"])
    targets = np.round(1.0 - np.asarray(variables))
    jax.block_until_ready(edit_latents(method, code, targets))  # compiles
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(edit_latents(method, code, targets))
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times) / len(targets)
