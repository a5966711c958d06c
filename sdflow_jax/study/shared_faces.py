"""The data set that the runs of a study share, built by itself: no training's time has it in it.

python -m sdflow_jax.study.shared_faces CONFIG '{"data.directory": "runs/figures/data"}'
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import logging

from sdflow_jax.data.image_source import DataError
from sdflow_jax.data.prepared import prepare_data
from sdflow_jax.files.config_files import read_config
from sdflow_jax.files.networks import NetworkFileError
from sdflow_jax.files.run_config import ConfigError, to_json
from sdflow_jax.methods.settings import read_settings
from sdflow_jax.study.plan import Run

_GROUPS = ("data.", "networks.")  # of a config, that decide the data set


def overrides_of_data(run: Run) -> dict[str, Any]:
    """The overrides of a run that decide its data set."""
    return {key: value for key, value in run.overrides.items() if key.startswith(_GROUPS)}


def data_of(config_flag: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A config with overrides, as JSON values.

    Args:
      config_flag: as for `--config`.
      overrides: config values, dotted key -> value.
    """
    config = read_config(config_flag)
    config.update_from_flattened_dict(dict(overrides))
    return to_json(config)


def key_of_data(run: Run) -> str:
    """The same for runs of the same faces under the same networks, whose data set is one."""
    plain = data_of(run.config_flag, overrides_of_data(run))
    files = [plain["networks"].get(role) for role in ("inversion_encoder", "classifier")]
    return json.dumps([plain["data"], files], sort_keys=True)


def main(arguments: Sequence[str]) -> None:
    """Build the data set of a config, or find it built; a mistake ends the program with one sentence."""
    config_flag, overrides = arguments
    logging.set_verbosity(logging.FATAL)  # as `train.py`
    try:
        settings = read_settings(data_of(config_flag, json.loads(overrides)))
        jax.config.update("jax_default_matmul_precision", settings.matmul_precision)
        prepare_data(settings.data, settings.networks, settings.data.directory)
    except (ConfigError, DataError, NetworkFileError, OSError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    except KeyboardInterrupt:  # the next build continues
        raise SystemExit(130) from None


if __name__ == "__main__":
    main(sys.argv[1:])
