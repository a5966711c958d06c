"""The configs that are benchmarked."""

import pathlib
from collections.abc import Mapping
from typing import Any

from sdflow_jax.files.config_files import read_config
from sdflow_jax.files.run_config import to_json

_CONFIGS = pathlib.Path(__file__).parent.parent / "configs"


def with_overrides(name: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A config file of the repository as plain values, with some of them changed by dotted keys."""
    config = read_config(_CONFIGS / name)
    config.update_from_flattened_dict(overrides)
    return to_json(config)
