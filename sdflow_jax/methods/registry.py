"""The methods by name, and what all of them are asked together."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from sdflow_jax.files.late_import import imported
from sdflow_jax.files.run_config import ConfigError, load_config, load_method_config
from sdflow_jax.methods.method import EditingMethod, Method

# config.method -> "module:class" of its room.
METHODS = {
    "sdflow": "sdflow_jax.methods.sdflow:SDFlow",
    "interfacegan": "sdflow_jax.methods.interfacegan:InterFaceGAN",
    "latent_transformer": "sdflow_jax.methods.latent_transformer:LatentTransformerMethod",
}


def find_method(name: str) -> Method:
    """The room of a method.

    Raises:
      KeyError: if there is none of that name.
    """
    return imported(METHODS[name])()


def load_method(workdir: str | os.PathLike[str]) -> EditingMethod:
    """The editing method that a finished training run has produced.

    Raises:
      FileNotFoundError: if the directory holds no run.
      ConfigError: if the run has trained no method.
      NetworkFileError: if the run has exported no networks yet.
    """
    return find_method(load_method_config(workdir)["method"]).load(workdir)


def trained_networks(workdir: str | os.PathLike[str]) -> list[pathlib.Path]:
    """The network files that are written last by the training in a directory; empty unless all are there.

    Raises:
      ConfigError: if the run's config is damaged, or of a method that there is not.
    """
    workdir = pathlib.Path(workdir)
    try:
        config = load_config(workdir)
    except FileNotFoundError:
        return []
    if role := config.get("role"):
        files = [workdir / f"{role}.safetensors"]
    elif config.get("method") not in METHODS:
        raise ConfigError(
            f"{workdir}: expected a run of {', '.join(METHODS)}, its config.json says"
            f" {config.get('method')!r}"
        )
    else:
        folder = workdir / config["method"]
        files = [folder / f"{name}.safetensors" for name in find_method(config["method"]).exports]
    return files if all(file.exists() for file in files) else []


def networks_of_methods() -> Mapping[str, str]:
    """Name in a network file -> "module:class", of the networks that belong to one method alone."""
    found: dict[str, Any] = {}
    for name in METHODS:
        found |= find_method(name).networks
    return found
