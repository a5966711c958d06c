"""Evaluate a training run: identity and attribute preservation against editing accuracy.

    python evaluate.py --workdir=runs/pocket
    python evaluate.py --config=configs/pocket.py --workdir=runs/pocket --num_faces=2000
    python evaluate.py --workdir=runs/pocket --judge=external

Reads the networks that `train.py` left in the working directory and the test faces of its data set,
and writes to `WORKDIR/evaluation/` the curves (`preservation.png`, with every point in
`points.csv`), their summary (`summary.json`), histograms of the semantic variables, edited faces,
and new faces if the method is a flow.

With --judge=external published networks judge, which nobody here trained (`make
pocket-build-environment` installs them), and the results go to `WORKDIR/evaluation_external/`.
Without --config the run's own config is used; with it, only the networks that judge and the place
of the data may differ from the run's.
"""

import pathlib

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from sdflow_jax import networks
from sdflow_jax.config import (
    JUDGING_ROLES,
    ConfigError,
    check_config,
    check_resumable,
    load_config,
    to_json,
)
from sdflow_jax.data import face_latents
from sdflow_jax.data.attribute_names import attribute_columns
from sdflow_jax.data.image_source import DataError
from sdflow_jax.editing_methods import load_method
from sdflow_jax.evaluation import (
    STRENGTHS,
    EvaluationError,
    EvaluationSettings,
    ExternalJudges,
    World,
    evaluate,
    load_judges,
    requests_for,
    results_directory,
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
JUDGE = flags.DEFINE_enum(
    "judge",
    "config",
    ["config", "external"],
    "Who judges: the networks of the config, or dlib's published networks on the edited pixels.",
)
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 32, "New faces for each combination of attributes, if the method is a flow."
)
STRENGTH_LIST = flags.DEFINE_list(
    "strengths",
    [str(strength) for strength in STRENGTHS],
    "Rising strengths; 1 is the opposite end.",
)


def run(
    config,
    workdir: pathlib.Path,
    settings: EvaluationSettings,
    split: str,
    judge: str = "config",
) -> dict:
    """Evaluate the run in `workdir` and write the results into `results_directory`."""
    check_config(config)
    files = config["networks"]
    for role in JUDGING_ROLES:
        if not files.get(role):
            raise ConfigError(
                f"config.networks.{role} must be a network file: the evaluation needs a judge"
            )
    method = load_method(workdir)
    dataset = build.prepare_data(config, workdir)
    recipe = face_latents.read_recipe(dataset)
    generator = build.load_generator(config, recipe["latent_shape"])
    own = load_judges(
        files["evaluation_classifier"], files["identity_encoder"], image_size=recipe["image_size"]
    )
    judge_files = {role: networks.digest(files[role]) for role in JUDGING_ROLES}
    judges, compared, requested = own, None, method.attributes
    if judge == "external":
        judges, compared = ExternalJudges(), own
        requested = tuple(name for name in method.attributes if name in judges.attributes)
        if not requested:
            raise EvaluationError(
                f"the external judges know {', '.join(judges.attributes)}, and nothing of that is"
                f" edited here ({', '.join(method.attributes)})"
            )
    return evaluate(
        World(generator, judges),
        method,
        face_latents.open_split(dataset, split),
        results_directory(workdir, judge),
        prediction_columns=attribute_columns(recipe["attributes"], method.attributes),
        requests=requests_for(requested),
        compared_judges=compared,
        notes={"split": split, "judge": judge, "judge_files": judge_files},
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
            num_samples=NUM_SAMPLES.value,
        )
    except ValueError as error:
        raise app.UsageError(str(error)) from error
    try:
        config = load_config(workdir)
        if CONFIG.value is not None:
            check_resumable(config, to_json(CONFIG.value))
            config = to_json(CONFIG.value)
        # As in training: a GPU would round the factors of float32 products otherwise.
        jax.config.update("jax_default_matmul_precision", config["training"]["matmul_precision"])
        logging.info("evaluating %s on %s", workdir, jax.devices()[0].device_kind)
        summary = run(config, workdir, settings, SPLIT.value, JUDGE.value)
    except (
        ConfigError,
        DataError,
        EvaluationError,
        NetworkFileError,
        FileNotFoundError,
        FloatingPointError,
    ) as error:
        # A mistake in what was asked, not in the program: no traceback.
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    print(table(summary))
    print(f"Results are in {results_directory(workdir, JUDGE.value)}.")


if __name__ == "__main__":
    app.run(main)
