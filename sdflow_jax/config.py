"""What a run's config must satisfy, and its copy in the run's directory.

Only the entry points and the `build_*` functions see configs; the rest of the package takes plain
arguments.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from sdflow_jax import networks
from sdflow_jax.config_values import value_complaints
from sdflow_jax.data.attribute_names import attribute_columns, attribute_names
from sdflow_jax.whole_files import write_whole

CONFIG_FILE = "config.json"

# Role in config.networks -> the registry names that can fill it.
ROLES = {
    "generator": ("Generator",),
    "inversion_encoder": ("InversionEncoder",),
    "classifier": ("AttributeClassifier",),
    "evaluation_classifier": ("AttributeClassifier",),
    "identity_encoder": ("IdentityEncoder", "IResNet"),
}
TRAINING_ROLES = ("generator", "inversion_encoder", "classifier")
JUDGING_ROLES = ("evaluation_classifier", "identity_encoder")

# Role -> what to call the checkpoint that fills it, in the command that converts it.
_CHECKPOINTS = {
    "generator": "STYLEGAN2.pt",
    "inversion_encoder": "E4E.pt",
    "classifier": "CLASSIFIER.pth",
    "evaluation_classifier": "CLASSIFIER.pth",
    "identity_encoder": "ARCFACE.pth",
}

# What a residual network is made of, and the defaults of `SemanticEncoder` and `AttributeClassifier`.
_BACKBONE = {"depth": 34, "width": 64, "stem_pool": True}

# Top-level keys that configs may leave out, as those did which are older than the keys.
DEFAULTS = {"method": "sdflow", "semantic_variables": "encoder"}

# What a run may change between being stopped and being resumed: nothing that the course of training
# depends on.
_FREE = {
    "training": {
        *("num_steps", "log_every", "sample_every", "num_sample_faces", "checkpoint_every"),
        *("keep_checkpoints", "compilation_cache"),
    },
    "data": {"directory", "num_threads", "prefetch", "annotation_batch_size", "folder"},
    "networks": set(ROLES),  # the place; what the files of training hold is checked by digest
    "solver": {"max_steps"},  # a bound: no solve that stays within it changes
}


class ConfigError(ValueError):
    """A config asks for something impossible; every line of the message names one mistake."""


def check_config(config: Mapping[str, Any]) -> None:
    """Find the mistakes of a config before anything slow begins.

    Raises:
      ConfigError: with one line for every mistake that was found.
    """
    complaints = [*value_complaints(config), *_check_networks(config), *_check_backbone(config)]
    if complaints:
        raise ConfigError("\n".join(complaints))


def _check_networks(config: Mapping[str, Any]) -> list[str]:
    complaints = []
    for role, path in config["networks"].items():
        if role not in ROLES:
            complaints.append(
                f"config.networks.{role} is no role; the roles are {', '.join(ROLES)}"
            )
        elif not path:
            if role in TRAINING_ROLES:
                complaints.append(
                    f"config.networks.{role} must be a network file; {_how_to_make(role)}"
                )
        else:
            complaints += _check_network(role, path, config["attributes"])
    return complaints or _check_latents(config["networks"])


def _check_latents(files: Mapping[str, str]) -> list[str]:
    """Whether the generator takes what the inversion encoder gives; both are there."""
    generator, encoder = (
        networks.build_abstract(metadata["network"], metadata["arguments"])
        for metadata in (
            networks.read_metadata(files[role]) for role in ("generator", "inversion_encoder")
        )
    )
    taken, given = ((x.num_styles, x.style_dim) for x in (generator, encoder))
    if taken == given:
        return []
    return [
        f"config.networks: the generator takes latents of shape {taken}, the inversion encoder gives"
        f" {given}; they belong to two different worlds"
    ]


def _check_network(role: str, path: str, attributes: Sequence[str]) -> list[str]:
    try:
        metadata = networks.read_metadata(path)
        if metadata["network"] not in ROLES[role]:
            expected = " or ".join(ROLES[role])
            found = metadata["network"]
            return [f"config.networks.{role}: expected a {expected}, {path} holds a {found}"]
        if role in ("classifier", "evaluation_classifier"):
            names = attribute_names(metadata)
            if role == "classifier":
                attribute_columns(names, attributes)
    except networks.NetworkFileError as error:
        return [f"config.networks.{role}: {error}; {_how_to_make(role, path)}"]
    except ValueError as error:
        return [f"config.attributes: {error}"]
    return []


def _check_backbone(config: Mapping[str, Any]) -> list[str]:
    """Whether the semantic encoder can start from the residual network that it is told to."""
    path = config.get("initial_backbone", "")
    if not path or config.get("semantic_variables", "encoder") != "encoder":
        return []
    try:
        metadata = networks.read_metadata(path)
    except networks.NetworkFileError as error:
        return [f"config.initial_backbone: {error}"]
    if metadata["network"] != "AttributeClassifier":
        return [
            "config.initial_backbone: expected an AttributeClassifier,"
            f" {path} holds a {metadata['network']}"
        ]
    # Both classes have the same names and defaults for these.
    found = {key: metadata["arguments"].get(key, x) for key, x in _BACKBONE.items()}
    wanted = {key: config["semantic_encoder"].get(key, x) for key, x in _BACKBONE.items()}
    return [
        f"config.semantic_encoder.{key} must be {found[key]!r}, as in config.initial_backbone"
        f" ({path}), got {wanted[key]!r}"
        for key in _BACKBONE
        if found[key] != wanted[key]
    ]


def _how_to_make(role: str, path: str = "") -> str:
    file = pathlib.Path(path)
    if file.suffix != ".safetensors":  # nothing, or a packaged network that does not exist
        file = pathlib.Path("networks") / f"{role}.safetensors"
    return (
        "make it from your PyTorch checkpoint with"
        f" `python -m converters {_CHECKPOINTS[role]} --out {file.parent} --name {file.stem}`"
    )


def to_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as plain JSON values, with the paths of its files made absolute."""
    plain = {**DEFAULTS, **json.loads(json.dumps(config, default=dict))}
    for role, path in plain["networks"].items():
        if path and pathlib.Path(path).exists():
            plain["networks"][role] = str(pathlib.Path(path).absolute())
    for key in ("directory", "folder"):
        if plain["data"][key]:
            plain["data"][key] = str(pathlib.Path(plain["data"][key]).expanduser().absolute())
    return plain


def save_config(workdir: str | os.PathLike[str], config: Mapping[str, Any]) -> None:
    """Write the config to `config.json` in the run's directory, whole or not at all.

    It gets the key `network_digests`: what the network files hold that the training depends on, by
    role, for `check_contents`.

    Raises:
      NetworkFileError: if one of these files is missing.
    """
    plain = to_json(config)
    files = plain["networks"]
    digests = {role: networks.digest(files[role]) for role in TRAINING_ROLES}
    text = json.dumps({**plain, "network_digests": digests}, indent=2) + "\n"
    write_whole(pathlib.Path(workdir) / CONFIG_FILE, lambda stream: stream.write(text.encode()))


def load_config(workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the config of a run.

    Raises:
      FileNotFoundError: if the directory holds no run.
    """
    path = pathlib.Path(workdir) / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file; {workdir} must be the --workdir of a training run"
        )
    return {**DEFAULTS, **json.loads(path.read_text())}


def check_contents(config: Mapping[str, Any], roles: Sequence[str] = TRAINING_ROLES) -> None:
    """Make sure that a run's network files hold what they held when it began.

    A run that is older than its key `network_digests` cannot be checked.

    Args:
      config: of a run, as by `load_config`.
      roles: which of the networks that its training depends on.

    Raises:
      ConfigError: with a line for every file that holds something else.
      NetworkFileError: if a file is missing.
    """
    begun = config.get("network_digests", {})
    complaints = _content_complaints(
        config["networks"], {role: begun[role] for role in roles if role in begun}
    )
    if complaints:
        raise ConfigError("\n".join(complaints))


def _content_complaints(files: Mapping[str, str], digests: Mapping[str, str]) -> list[str]:
    return [
        f"config.networks.{role}: {files[role]} does not hold the network that the run was begun"
        f" with (digest {found}, then {digest})"
        for role, digest in digests.items()
        if (found := networks.digest(files[role])) != digest
    ]


def check_resumable(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Make sure that a run which began with the config `old` (as by `load_config`) may go on with
    `new` (as by `to_json`).

    Raises:
      ConfigError: if they differ in anything but lengths, intervals, places and the networks of the
        evaluation.
      NetworkFileError: if a network file of `new` is missing.
    """
    before, after = _flatten(_binding(old)), _flatten(_binding(new))
    changed = [
        f"config.{key} was {before.get(key)!r} and is now {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    changed += _content_complaints(new["networks"], old.get("network_digests", {}))
    if changed:
        raise ConfigError(
            "this run was begun with another config; give it back, or choose another --workdir:\n"
            + "\n".join(changed)
        )


def _binding(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for group, value in config.items():
        if group == "network_digests":
            continue  # compared with the files themselves
        free = _FREE.get(group, set())
        kept[group] = {k: v for k, v in value.items() if k not in free} if free else value
    return kept


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
