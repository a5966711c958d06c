"""What `train.py` does with a config: check it, make the faces, train the method or the classifier."""

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from sdflow_jax.classifiers import training as classifier_training
from sdflow_jax.classifiers.settings import ClassifierSettings, read_classifier_settings
from sdflow_jax.data.prepared import prepare_data
from sdflow_jax.files.compiled_programs import keep_compiled_programs
from sdflow_jax.files.lock import locked
from sdflow_jax.files.run_config import check_resumable, load_config, save_config, to_json
from sdflow_jax.methods.method import RunSettings
from sdflow_jax.methods.registry import find_method, trained_networks
from sdflow_jax.methods.settings import read_settings
from sdflow_jax.training.checkpoint import RunCheckpointError
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.resumable import check_length, has_begun


def run(config: ConfigDict, workdir: pathlib.Path, interrupts: Interrupts) -> None:
    """Train as the config says, from the beginning or from where the run in `workdir` stopped.

    Only the first of several processes that train together holds the directory's lock.

    Raises:
      InUseError: if another run is at work in `workdir`; nothing is done then.
      ConfigError, RunCheckpointError: if what `workdir` holds cannot be gone on with; it is left as it is.
    """
    plain = to_json(config)
    settings = read_classifier_settings(plain) if "role" in plain else read_settings(plain)
    is_first = jax.process_index() == 0
    with locked(workdir, "training") if is_first else contextlib.nullcontext():
        _run(plain, settings, workdir, interrupts)


def _run(
    plain: Mapping[str, Any],
    settings: RunSettings | ClassifierSettings,
    workdir: pathlib.Path,
    interrupts: Interrupts,
) -> None:
    keep_compiled_programs(settings.compilation_cache)
    jax.config.update("jax_default_matmul_precision", settings.matmul_precision)
    _check_directory(workdir, plain, settings)
    if jax.process_index() == 0:
        save_config(workdir, plain)
    if isinstance(settings, ClassifierSettings):
        classifier_training.train(settings, workdir, interrupts)
        return
    dataset = _prepared_data(settings, workdir)
    find_method(settings.method).train(settings, workdir, dataset, interrupts)


def _check_directory(
    workdir: pathlib.Path, plain: Mapping[str, Any], settings: RunSettings | ClassifierSettings
) -> None:
    """Make sure that nothing is lost by training in a directory.

    Raises:
      ConfigError: if what it holds was begun with another config.
      RunCheckpointError: if it holds networks whose training cannot be gone on with.
    """
    has_checkpoints, trained = has_begun(workdir), trained_networks(workdir)
    if not has_checkpoints and not trained:
        return
    check_resumable(load_config(workdir), plain, settings.keys)
    check_length(workdir, plain["training"].get("num_steps", 0))
    if not has_checkpoints and "config.training.num_steps" in settings.keys:
        raise RunCheckpointError(
            f"{trained[0]} is of a finished training whose checkpoints are gone; give back"
            f" {workdir / 'checkpoints'}, or choose another --workdir"
        )


def _prepared_data(settings: RunSettings, workdir: pathlib.Path) -> pathlib.Path:
    """Build the data set in the first process; the others wait and find it built."""
    is_first = jax.process_index() == 0
    if is_first:
        dataset = prepare_data(settings.data, settings.networks, workdir)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("the data set is built")
    return dataset if is_first else prepare_data(settings.data, settings.networks, workdir)
