"""A config as plain, checked, typed settings: read once, before anything slow begins."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sdflow_jax.data.prepared import faces_size
from sdflow_jax.data.settings import DataSettings
from sdflow_jax.files import networks
from sdflow_jax.files.config_groups import Group
from sdflow_jax.files.roles import TRAINING_ROLES, check_roles
from sdflow_jax.methods.method import RunSettings
from sdflow_jax.methods.registry import METHODS, find_method


def read_settings(config: Mapping[str, Any]) -> RunSettings:
    """The settings of a training run.

    Args:
      config: as by `to_json` or `load_config`.

    Raises:
      ConfigError: with one line for every mistake that was found.
    """
    group = Group(config)
    settings = _read_shared(group)
    if not group.complaints:
        group.complaints += _size_complaints(settings)
    if settings.method is not None:
        own = find_method(settings.method).read(group)
        settings = dataclasses.replace(settings, own=own, keys=frozenset(group.paths))
    group.finish()
    return settings


def read_shared_settings(config: Mapping[str, Any]) -> RunSettings:
    """The settings of a run but for those of its method: all that a finished run is asked for.

    A run whose config its method would no longer accept can so be evaluated all the same.

    Args:
      config: as by `load_config`.

    Raises:
      ConfigError: with one line for every mistake that was found.
    """
    group = Group(config)
    settings = _read_shared(group)
    group.finish()
    return settings


def _read_shared(config: Group) -> RunSettings:
    attributes = config.anything("attributes") or ()
    if not attributes or not all(isinstance(name, str) for name in attributes):
        config.complain("attributes", "a tuple of at least one attribute's name")
        attributes = ()
    data = DataSettings.read(config.group("data"))
    training = config.group("training")
    files = {role: path or "" for role, path in config.group("networks").values().items()}
    required = [
        role for role in TRAINING_ROLES if role != "inversion_encoder" or not data.brings_latents
    ]
    config.complaints += check_roles(files, attributes, required=required)
    return RunSettings(
        method=config.choice("method", METHODS),
        seed=config.whole("seed", least=0),
        attributes=tuple(attributes),
        networks=files,
        data=data,
        matmul_precision=training.choice("matmul_precision", ("default", "float32")),
        compilation_cache=training.text("compilation_cache"),
        own=None,
        keys=frozenset(config.paths),
    )


def _size_complaints(settings: RunSettings) -> list[str]:
    """Whether the classifier is asked about faces of the size of which it learned, where its file tells."""
    path = settings.networks["classifier"]
    learned = networks.read_metadata(path).get("image_size")
    size = faces_size(settings.data, settings.networks)
    if not learned or not size or int(learned) == size:
        return []
    return [
        f"config.networks.classifier: {path} learned from faces of {learned} pixels (its note image_size), and would"
        f" be asked about faces of {size}; train it with --config.data.image_size={size}"
    ]
