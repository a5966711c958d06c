"""Whether a config can be meant, before anything slow begins."""

from collections.abc import Mapping
from typing import Any

from sdflow_jax.data.settings import check_data
from sdflow_jax.files.complaints import Complaints
from sdflow_jax.files.roles import check_roles
from sdflow_jax.files.run_config import ConfigError
from sdflow_jax.methods.registry import METHODS, find_method


def check_config(config: Mapping[str, Any]) -> None:
    """Find the mistakes of a config.

    Raises:
      ConfigError: with one line for every mistake that was found.
    """
    found = Complaints(config)
    found.require(
        len(config["attributes"]) > 0, "attributes", "a tuple of at least one attribute's name"
    )
    check_data(found, config["data"])
    found.require(
        config["training"]["matmul_precision"] in ("default", "float32"),
        "training.matmul_precision",
        "'default' or 'float32'",
    )
    method = config.get("method", "sdflow")
    if method in METHODS:
        found.lines += find_method(method).check(config)
    else:
        found.lines.append(f"config.method must be one of {', '.join(METHODS)}, got {method!r}")
    found.lines += check_roles(config["networks"], config["attributes"])
    if found.lines:
        raise ConfigError("\n".join(found.lines))
