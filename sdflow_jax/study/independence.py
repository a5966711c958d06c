"""Is a flow's code z independent of the semantic variables s? What probes can tell of s from z.

    python -m sdflow_jax.study.independence runs/pocket

prints it for finished runs: the area under the ROC curve with which a probe tells whether each variable is above one
half, one half being chance; of the code z, and of the latent w beside it. Brackets are 95% intervals over faces.
"""

import argparse
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from sdflow_jax.data import face_latents
from sdflow_jax.data.prepared import prepare_data
from sdflow_jax.evaluation.report import save_arrays
from sdflow_jax.evaluation.source_faces import encode_pictures, face_batches
from sdflow_jax.files.run_config import load_config
from sdflow_jax.images.batching import map_batches
from sdflow_jax.images.precision import in_float32
from sdflow_jax.methods.method import EditingMethod, SamplingMethod
from sdflow_jax.methods.registry import load_method
from sdflow_jax.methods.settings import read_shared_settings
from sdflow_jax.study.areas import Estimate, estimate, mean_draws, over_seeds
from sdflow_jax.study.probes import PROBES, area_under_roc, balanced_accuracy, probe_scores

FILE = "independence.npz"
CODES = {"z": "the flow's code", "w": "the latent itself"}
NUM_TRAIN = 3000
NUM_RESAMPLES = 500
MEASURES = {"area": area_under_roc, "accuracy": balanced_accuracy}


def measure_independence(workdir: pathlib.Path, split: str, num_faces: int) -> pathlib.Path | None:
    """Fit the probes on a run's training faces and score others; done once.

    Args:
      workdir: of a finished run.
      split: of the faces that are scored.
      num_faces: how many of them.

    Returns:
      The file `independence.npz`: `labels` [t, a], whether s is above one half, and for each code and
      probe `CODE/PROBE` [t, a], scores; None for a method that is no flow.
    """
    method = load_method(workdir)
    if not isinstance(method, SamplingMethod):
        return None
    file = workdir / FILE
    wanted = {"split": split, "num_faces": num_faces, "num_train": NUM_TRAIN}
    if file.exists():
        with np.load(file) as found:
            if all(key in found and found[key] == value for key, value in wanted.items()):
                return file
    settings = read_shared_settings(load_config(workdir))
    dataset = prepare_data(settings.data, settings.networks, workdir)
    fitted = encode_faces(method, face_latents.open_split(dataset, "train"), NUM_TRAIN)
    scored = encode_faces(method, face_latents.open_split(dataset, split), num_faces)
    arrays: dict[str, Any] = {"labels": scored["s"] > 0.5, **wanted}
    for code in CODES:
        for probe, hidden_sizes in PROBES.items():
            arrays[f"{code}/{probe}"] = probe_scores(
                fitted[code], fitted["s"] > 0.5, scored[code], hidden_sizes=hidden_sizes
            )
    save_arrays(file, arrays)
    return file


def encode_faces(
    method: EditingMethod, faces: Sequence[Mapping[str, Any]], count: int, *, batch_size: int = 50
) -> dict[str, Float[np.ndarray, "f x"]]:
    """Codes `z` and latents `w`, the means over a face's rows, [f, d], and semantic variables `s`, [f, a].

    Args:
      method: a flow.
      faces: items with `image`, `w_plus` and `predictions`.
      count: how many, from the first; less where there are less.
      batch_size: faces per compiled call.

    Raises:
      FloatingPointError: if a face could not be encoded.
    """
    pieces = []
    for batch in face_batches(faces, min(count, len(faces)), batch_size):
        z, s = map_batches(
            lambda *arrays: encode_pictures(method, *arrays)[0],
            batch_size,
            batch["w_plus"],
            batch["image"],
        )
        pieces.append({"z": z.mean(1), "w": batch["w_plus"].mean(1), "s": s})
    found = jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)
    if not np.isfinite(found["z"]).all():
        raise FloatingPointError("some faces could not be encoded")
    return found


def tell_apart(
    runs: Sequence[Mapping[str, np.ndarray]],
    code: str,
    probe: str,
    *,
    num_resamples: int,
    stream: int = 0,
) -> dict[str, list[Estimate | None]]:
    """How well a probe tells the attributes from a code, over faces and seeds.

    Args:
      runs: arrays of `measure_independence`, of each training seed, of the same faces.
      code: one of `CODES`.
      probe: one of `PROBES`.
      num_resamples: of the bootstrap over faces, the same for all seeds, and over seeds.
      stream: another for each method, as in `areas.resample`.

    Returns:
      "area" under the ROC curve and balanced "accuracy", each for every attribute; one half is chance, and
      None where all faces are alike. Under "mean area" and "mean accuracy" the mean over the attributes, in a list of
      one.
    """
    seeds = [(run[f"{code}/{probe}"], run["labels"]) for run in runs]
    num_faces, num_attributes = seeds[0][1].shape
    random = np.random.default_rng(0)
    faces = random.integers(0, num_faces, (num_resamples, num_faces))
    told = functools.partial(estimate, degrees=len(seeds) - 1, ends=(0.0, 1.0))
    found: dict[str, list[Estimate | None]] = {}
    for name, measure in MEASURES.items():
        measured = []
        for column in range(num_attributes):
            pairs = [(scores[:, column], labels[:, column]) for scores, labels in seeds]
            value = np.mean([measure(*pair) for pair in pairs])
            drawn = np.array([_draws(measure, *pair, faces) for pair in pairs])  # [seeds, r]
            measured.append((value, over_seeds(drawn, stream)))
        known = [pair for pair in measured if np.isfinite(pair[0])]
        found[name] = [told(*pair) if np.isfinite(pair[0]) else None for pair in measured]
        values, draws = ([pair[i] for pair in known] for i in (0, 1))
        found[f"mean {name}"] = [told(np.mean(values), mean_draws(draws)) if known else None]
    return found


def _draws(
    measure: Any,
    scores: Float[np.ndarray, " t"],
    labels: Bool[np.ndarray, " t"],
    faces: np.ndarray,
) -> list[float]:
    return [measure(scores[row], labels[row]) for row in faces]


@in_float32
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and print what probes tell of each run."""
    parser = argparse.ArgumentParser(
        prog="python -m sdflow_jax.study.independence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workdirs", type=pathlib.Path, nargs="+", help="of finished runs of flows")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--num_faces", type=int, default=500, help="faces that are scored")
    given = parser.parse_args(arguments)
    try:
        for workdir in given.workdirs:
            precision = read_shared_settings(load_config(workdir)).matmul_precision
            jax.config.update("jax_default_matmul_precision", precision)  # as in training
            attributes = load_method(workdir).attributes
            file = measure_independence(workdir, given.split, given.num_faces)
            if file is None:
                raise ValueError(f"{workdir}: its method is no flow, and has no code z")
            with np.load(file) as probes:
                told = told_of_run(dict(probes), attributes)
            print(f"{workdir}\n{told}", flush=True)
    except (OSError, ValueError, FloatingPointError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


def told_of_run(probes: Mapping[str, np.ndarray], attributes: Sequence[str]) -> str:
    """A line for each code and probe, from the arrays of `measure_independence`."""
    lines = []
    for code, of_what in CODES.items():
        for probe in PROBES:
            found = tell_apart([probes], code, probe, num_resamples=NUM_RESAMPLES)
            cells = [
                f"{name} –"
                if area is None
                else f"{name} {area.value:.3f} [{area.low:.3f}, {area.high:.3f}]"
                for name, area in zip(
                    (*attributes, "mean"), (*found["area"], *found["mean area"]), strict=True
                )
            ]
            lines.append(f"  {code} ({of_what}), {probe} probe: {', '.join(cells)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
