"""Train SDFlow, one of the methods that it is compared with, or a classifier.

    python train.py --config=configs/pocket.py --workdir=runs/pocket
    python train.py --config=configs/ffhq.py --workdir=runs/ffhq --config.training.batch_size=16
    python train.py --config=configs/baselines/latent_transformer.py --workdir=runs/transformer
    python train.py --config=configs/classifier.py --workdir=runs/classifier ...

The working directory gets `config.json`, `data/` (faces with their latents, built once),
`checkpoints/`, `metrics.csv`, `tensorboard/`, `samples/` and, when training ends, the trained
networks in a directory with the method's name; a classifier's is a file with the name of its role,
beside `validation.csv`, by which it was chosen, and `scores.csv`. The same command continues a run that was stopped in
any way, to the same bits. SIGINT (Ctrl-C) and SIGTERM save a checkpoint and exit with status 0; a
second one exits at once. A directory that another process trains in, evaluates, or builds faces in
is left alone.
"""

import pathlib
import sys
import threading
from collections.abc import Callable
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from sdflow_jax.data.image_source import DataError
from sdflow_jax.files.config_files import read_config
from sdflow_jax.files.networks import NetworkFileError
from sdflow_jax.files.run_config import ConfigError
from sdflow_jax.files.words import in_words
from sdflow_jax.methods.run import run
from sdflow_jax.training.checkpoint import RunCheckpointError
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.metrics_log import TrainingDiverged

CONFIG = config_flags.DEFINE_config_file("config", None, "The config file.", lock_config=True)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the run; one that holds a run continues it."
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Several processes train together, on one working directory."
)
COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0; with the next two, where jax cannot find out itself.",
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes train together.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
flags.mark_flags_as_required(["config", "workdir"])


def _check_config_file(argv: list[str]) -> None:
    """Read the config file for its mistakes: ml_collections tells of them with tracebacks, or late.

    Raises:
      SystemExit: with a sentence, if it cannot be read.
    """
    given = flags.FlagValues()
    flags.DEFINE_string("config", None, "", flag_values=given)
    given(argv, known_only=True)
    if given.config is None:
        return  # which the flag itself complains of
    try:
        read_config(given.config)
    except SyntaxError as error:
        place = f"{error.filename}, line {error.lineno}"
        raise SystemExit(f"ConfigError: --config: {place}: {error.msg}") from None
    except (OSError, TypeError, ValueError) as error:
        raise SystemExit(f"ConfigError: --config: {in_words(error)}") from None


def parse_flags(argv: list[str]) -> list[str]:
    """Parse the command line; a mistake in it ends the program with one sentence."""
    _check_config_file(argv)
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError) as error:  # a key that the config has not
        while error.args and isinstance(error.args[0], Exception):  # ml_collections nests them
            error = error.args[0]
        words = " ".join(str(error.args[0]).split())
        raise SystemExit(f"ConfigError: no such key of the config: {words}") from None
    except (OSError, TypeError, ValueError) as error:
        raise SystemExit(f"ConfigError: --config: {error}") from None


def _only_of_the_main_thread(hook: Callable[..., None]) -> Callable[..., None]:
    """What tensorstore's threads call when a disk is full has nobody left to tell it to, and says so."""

    def tell(*error: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            hook(*error)

    return tell


def main(argv: list[str]) -> None:
    """Set jax up and run; a mistake of the user's ends the program with one sentence."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    # orbax and tfds tell twenty things about every file, and of a full disk a thousand lines.
    logging.set_verbosity(logging.FATAL)
    sys.unraisablehook = _only_of_the_main_thread(sys.unraisablehook)
    if DISTRIBUTED.value:
        jax.distributed.initialize(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    with Interrupts() as interrupts:
        try:
            run(CONFIG.value, pathlib.Path(WORKDIR.value).expanduser().absolute(), interrupts)
        except (
            ConfigError,
            DataError,
            NetworkFileError,
            RunCheckpointError,
            TrainingDiverged,
            OSError,  # a disk that is full, or may not be written; a directory that is in use
        ) as error:
            raise SystemExit(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
