"""Evaluate a training run: identity and attribute preservation against editing accuracy.

    python evaluate.py --workdir=runs/pocket
    python evaluate.py --workdir=runs/pocket --judge=external
    python evaluate.py --workdir=runs/ffhq --faces=CELEBA_HQ \\
        --network=evaluation_classifier=networks/evaluation_classifier.safetensors \\
        --network=identity_encoder=networks/identity_encoder.safetensors

Reads the networks that `train.py` left in the working directory and the test faces of its data set,
and writes to `WORKDIR/evaluation/` the curves (`preservation.png`, with every point in
`points.csv`), their summary (`summary.json`), histograms of the semantic variables, edited faces,
and new faces if the method is a flow. All else is as in the run's config. Killed, it goes on after the
edits that are measured, by the same command.

With --judge=external published networks judge, which nobody here trained (`make
pocket-build-environment` installs them), and the results go to `WORKDIR/evaluation_external/`. With
--faces the faces of another folder are edited, aligned as the run's; those of CELEBA_HQ have their
results in `WORKDIR/evaluation_on_CELEBA_HQ/`. Those of --split=validation, to choose settings by, are in
`WORKDIR/evaluation_on_validation/`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import app, flags, logging

from sdflow_jax.data.image_folder import image_files
from sdflow_jax.data.image_source import SPLITS, DataError
from sdflow_jax.data.settings import DataSettings
from sdflow_jax.evaluation import (
    EvaluationError,
    EvaluationSettings,
    ExternalJudges,
    evaluate,
    requests_for,
    results_directory,
)
from sdflow_jax.evaluation.opened_run import open_run, require_judges
from sdflow_jax.evaluation.report import table
from sdflow_jax.files import networks
from sdflow_jax.files.compiled_programs import keep_compiled_programs
from sdflow_jax.files.lock import locked
from sdflow_jax.files.networks import NetworkFileError
from sdflow_jax.files.renderers import find_larger_file
from sdflow_jax.files.roles import JUDGING_ROLES
from sdflow_jax.files.run_config import (
    ConfigError,
    check_contents,
    load_method_config,
    with_networks,
)
from sdflow_jax.images.precision import in_float32
from sdflow_jax.methods.method import RunSettings
from sdflow_jax.methods.registry import load_method
from sdflow_jax.methods.settings import read_shared_settings

WORKDIR = flags.DEFINE_string("workdir", None, "Directory of a training run.", required=True)
NUM_FACES = flags.DEFINE_integer(
    "num_faces", EvaluationSettings.num_faces, "How many faces of the split to edit."
)
SPLIT = flags.DEFINE_enum(
    "split",
    "test",
    SPLITS,
    "The faces: test, or validation to choose settings by (results in evaluation_on_validation).",
)
FACES = flags.DEFINE_string(
    "faces",
    None,
    "A directory of other faces, aligned as the run's; the first --num_faces by name are edited.",
)
NETWORKS = flags.DEFINE_multi_string(
    "network", [], "ROLE=FILE: a network in place of the config's, the judges above all."
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", EvaluationSettings.batch_size, "Faces per compiled call."
)
JUDGE = flags.DEFINE_enum(
    "judge",
    "config",
    ["config", "external"],
    "Who judges: the networks of the config, or dlib's published networks on the edited pixels.",
)
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples",
    EvaluationSettings.num_samples,
    "New faces for each combination of attributes, if the method is a flow.",
)
PAIRS = flags.DEFINE_bool("pairs", False, "Edit every two attributes together, too.")
STRENGTH_LIST = flags.DEFINE_list(
    "strengths",
    [str(strength) for strength in EvaluationSettings.strengths],
    "Rising strengths; 1 is the opposite end.",
)


@in_float32
def run(
    config: Mapping[str, Any],
    workdir: pathlib.Path,
    settings: EvaluationSettings,
    split: str = "test",
    judge: str = "config",
    faces: str | None = None,
    pairs: bool = False,
) -> dict[str, Any]:
    """Evaluate the run in `workdir` and write the results into its `results_directory`.

    Args:
      config: the run's, as by `load_method_config`.
      workdir: the run's directory.
      settings: how much is evaluated.
      split: of the run's faces.
      judge: "config" or "external".
      faces: a directory of images in place of the run's faces.
      pairs: whether every two attributes are edited together, too.

    Returns:
      The summary, as in `summary.json`.

    Raises:
      InUseError: if the run is being trained, or the same results are being made.
    """
    run = read_shared_settings(config)
    keep_compiled_programs(run.compilation_cache)
    check_contents(config)
    require_judges(run.networks)
    if faces is not None:
        if not run.networks.get("inversion_encoder"):
            raise ConfigError(
                "config.networks.inversion_encoder must be a network file: --faces have to be"
                " inverted; give --network=inversion_encoder=FILE"
            )
        faces = str(pathlib.Path(faces).expanduser().absolute())
        data = _data_of_folder(run.data, faces, settings.num_faces)
        run = dataclasses.replace(run, data=data)
    results = _results(workdir, judge, faces, split)
    with locked(workdir, "evaluating", shared=True), locked(results, "evaluating"):
        _require_own(results, faces or "")
        return _evaluate(run, workdir, settings, split, judge, faces, pairs)


def _evaluate(
    run: RunSettings,
    workdir: pathlib.Path,
    settings: EvaluationSettings,
    split: str,
    judge: str,
    faces: str | None,
    pairs: bool,
) -> dict[str, Any]:
    method = load_method(workdir)
    judges, requested = None, method.attributes
    if judge == "external":
        judges = ExternalJudges()
        requested = tuple(name for name in method.attributes if name in judges.attributes)
        if not requested:
            raise EvaluationError(
                f"the external judges know {', '.join(judges.attributes)}, and nothing of that is"
                f" edited here ({', '.join(method.attributes)})"
            )
    opened = open_run(run, workdir, split, judges=judges)
    renderer = find_larger_file(run.networks["generator"])
    return evaluate(
        opened.setup,
        method,
        opened.faces,
        _results(workdir, judge, faces, split),
        prediction_columns=opened.columns_of(method.attributes),
        requests=requests_for(requested, pairs=pairs),
        compared_judges=None if judges is None else opened.own_judges,
        has_originals=run.data.has_originals,
        notes={
            "split": split,
            "faces": faces or "",
            "data": opened.data_name,
            "judge": judge,
            "judge_files": {role: networks.digest(run.networks[role]) for role in JUDGING_ROLES},
            # Its faces are what judges of larger pictures than the generator's see.
            "renderer": networks.digest(renderer) if renderer else "",
            "pairs": pairs,
        },
        settings=settings,
    )


def _results(workdir: pathlib.Path, judge: str, faces: str | None, split: str) -> pathlib.Path:
    name = "" if split == "test" else split
    if faces:
        name = pathlib.Path(faces).expanduser().absolute().name
    return results_directory(workdir, judge, name)


def _require_own(results: pathlib.Path, faces: str) -> None:
    """Refuse to replace what was found on other faces, whose folder only has the same name."""
    summary = results / "summary.json"
    if not summary.is_file():
        return
    earlier = json.loads(summary.read_text()).get("faces", "")
    earlier = str(pathlib.Path(earlier).absolute()) if earlier else ""
    if earlier != faces:
        raise EvaluationError(
            f"{results} holds the results of {earlier or 'faces of the run'}, not of"
            f" {faces or 'faces of the run'}; rename it, or the folder of faces"
        )


def _data_of_folder(data: DataSettings, folder: str, num_faces: int) -> DataSettings:
    """The same with the first images of a folder as test faces."""
    directory = pathlib.Path(folder)
    if not directory.is_dir():
        raise DataError(f"--faces {directory}: no such directory")
    count = min(len(image_files(directory)), num_faces)
    if not count:
        raise DataError(f"--faces {directory}: no picture that can be opened in this directory")
    return dataclasses.replace(
        data, source="folder", folder=str(directory), splits={"test": (0, count)}, limits={}
    )


def settings_of(strengths: Sequence[str], **others: int) -> EvaluationSettings:
    """The settings that flags ask for.

    Args:
      strengths: as words.
      **others: the settings that are whole numbers.

    Raises:
      ConfigError: naming the flag, for what is no number or out of range.
    """
    try:
        numbers = tuple(float(word) for word in strengths)
    except ValueError:
        words = ",".join(strengths)
        raise ConfigError(f"--strengths must be numbers with commas between, got {words}") from None
    try:
        return EvaluationSettings(strengths=numbers, **others)
    except ValueError as error:  # which begins with the setting's name
        raise ConfigError(f"--{error}") from error


def main(argv: list[str]) -> None:
    """Evaluate as the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.INFO)
    workdir = pathlib.Path(WORKDIR.value).expanduser().absolute()
    try:
        settings = settings_of(
            STRENGTH_LIST.value,
            num_faces=NUM_FACES.value,
            batch_size=BATCH_SIZE.value,
            num_samples=NUM_SAMPLES.value,
        )
        if FACES.value and SPLIT.value != "test":
            raise ConfigError(f"--faces are test faces; --split={SPLIT.value} is of the run's own")
        config = with_networks(load_method_config(workdir), NETWORKS.value)
        logging.info("evaluating %s on %s", workdir, jax.devices()[0].device_kind)
        summary = run(config, workdir, settings, SPLIT.value, JUDGE.value, FACES.value, PAIRS.value)
    except (
        ConfigError,
        DataError,
        EvaluationError,
        NetworkFileError,
        FloatingPointError,
        OSError,  # no such run, or one in use; a disk that is full, or may not be written
    ) as error:
        # A mistake in what was asked, not in the program: no traceback.
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    print(table(summary))
    print(f"Results are in {_results(workdir, JUDGE.value, FACES.value, SPLIT.value)}.")


if __name__ == "__main__":
    app.run(main)
