"""Evaluate a trained SDFlow: identity and attribute preservation against editing accuracy.

    python evaluate.py --workdir=runs/pocket
    python evaluate.py --config=configs/pocket.py --workdir=runs/pocket --num_faces=2000

Reads the networks that `train.py` left in the working directory and the test faces of its data set,
and writes to `WORKDIR/evaluation/` the curves (`preservation.png`, with every point in
`points.csv`), their summary (`summary.json`), histograms of the semantic variables, and edited
faces. Without --config the run's own config is used; with it, only the networks that judge and the
place of the data may differ from the run's.
"""

import pathlib

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from sdflow_jax.config import ConfigError, check_config, check_resumable, load_config, to_json
from sdflow_jax.data import face_latents
from sdflow_jax.data.attribute_names import attribute_columns
from sdflow_jax.editor import FlowEditing
from sdflow_jax.evaluation import (
    STRENGTHS,
    EvaluationError,
    EvaluationSettings,
    World,
    evaluate,
    load_judges,
)
from sdflow_jax.evaluation.report import table
from sdflow_jax.networks import NetworkFileError
from sdflow_jax.training import build

CONFIG = config_flags.DEFINE_config_file("config", None, "The config file.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Directory of a training run.", required=True)
NUM_FACES = flags.DEFINE_integer("num_faces", 500, "How many faces of the split to edit.")
SPLIT = flags.DEFINE_string(
    "split", "test", "The faces: test, or validation to choose settings by."
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Faces per compiled call.")
STRENGTH_LIST = flags.DEFINE_list(
    "strengths",
    [str(strength) for strength in STRENGTHS],
    "Rising strengths; 1 is the opposite end.",
)


def run(config, workdir: pathlib.Path, settings: EvaluationSettings, split: str) -> dict:
    """Evaluate the run in `workdir` and write the results into `workdir/evaluation`."""
    check_config(config)
    files = config["networks"]
    for role in ("evaluation_classifier", "identity_encoder"):
        if not files.get(role):
            raise ConfigError(
                f"config.networks.{role} must be a network file: the evaluation needs a judge"
            )
    method = FlowEditing.from_workdir(workdir)
    dataset = build.prepare_data(config, workdir)
    recipe = face_latents.read_recipe(dataset)
    world = World(
        build.load_generator(config, recipe["latent_shape"]),
        load_judges(
            files["evaluation_classifier"],
            files["identity_encoder"],
            image_size=recipe["image_size"],
        ),
    )
    return evaluate(
        world,
        method,
        face_latents.open_split(dataset, split),
        workdir / "evaluation",
        prediction_columns=attribute_columns(recipe["attributes"], method.attributes),
        settings=settings,
    )


def main(argv: list[str]) -> None:
    """Evaluate as the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.INFO)
    workdir = pathlib.Path(WORKDIR.value).expanduser().absolute()
    try:
        settings = EvaluationSettings(
            num_faces=NUM_FACES.value,
            strengths=tuple(float(strength) for strength in STRENGTH_LIST.value),
            batch_size=BATCH_SIZE.value,
        )
    except ValueError as error:
        raise app.UsageError(str(error)) from error
    try:
        config = load_config(workdir)
        if CONFIG.value is not None:
            check_resumable(config, to_json(CONFIG.value))
            config = to_json(CONFIG.value)
        logging.info("evaluating %s on %s", workdir, jax.devices()[0].device_kind)
        summary = run(config, workdir, settings, SPLIT.value)
    except (ConfigError, EvaluationError, NetworkFileError, FileNotFoundError) as error:
        # A mistake in what was asked, not in the program: no traceback.
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    print(table(summary))
    print(f"Results are in {workdir / 'evaluation'}.")


if __name__ == "__main__":
    app.run(main)
