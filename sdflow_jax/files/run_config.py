"""The config of a run as its file `config.json`, and what a run that goes on may change of it."""

import json
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sdflow_jax.files import networks
from sdflow_jax.files.atomic import write_json
from sdflow_jax.files.config_groups import ConfigError
from sdflow_jax.files.roles import ROLES, TRAINING_ROLES

CONFIG_FILE = "config.json"

# Top-level keys that configs may leave out, as those did which are older than the keys.
DEFAULTS = {"method": "sdflow", "semantic_variables": "encoder"}

# The same for keys in groups; of `data` those that only the source "generator" reads.
GROUP_DEFAULTS = {
    "data": {"image_size": 0, "truncation": 1.0, "mixed_share": 0.0, "seed_list": ""},
    "losses": {"image_resolution": 0},
}

# Keys that configs once had, with the value that all runs now have. They exist in the library, for the
# comparison with the original code.
_RETIRED = {
    "losses": {
        "resize": "antialias",
        "clamp": True,
        "statistics_between_passes": False,
        "reference_nll_constant": False,
    },
    "solver": {"error_norm": "max_rms"},
}

# Keys that say nothing where they have this value. They are left out there, so that runs are equal to
# those that are older than the keys.
_SILENT = {"data": {"latents": ""}, "losses": {"flow_matching": 0.0}}

# What a run may change between being stopped and being resumed: nothing that the course of training
# depends on.
_FREE = {
    "training": {
        *("num_steps", "log_every", "sample_every", "num_sample_faces", "checkpoint_every"),
        *("keep_checkpoints", "compilation_cache"),
    },
    "data": {
        "directory",
        "num_threads",
        "prefetch",
        "annotation_batch_size",
        "folder",
        "seed_list",
        "latents",
        "labels",
        "partition",
    },
    "networks": set(ROLES),  # the place; what the files of training hold is checked by digest
    "solver": {"max_steps"},  # a bound: no solve that stays within it changes
}

# A file outside of `networks` that training begins with: its digest stands beside theirs.
_BACKBONE = "initial_backbone"


def to_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as plain JSON values, with the paths of its files made absolute.

    Keys that configs no longer have are dropped, as by `load_config`.
    """
    plain = _brought_up(json.loads(json.dumps(config, default=dict)))
    places = [(plain.get("networks", {}), role) for role in plain.get("networks", {})]
    places += [(plain["data"], key) for key in ("seed_list", "latents")] + [(plain, _BACKBONE)]
    for group, key in places:  # or the name of a packaged one
        file = pathlib.Path(group.get(key) or "").expanduser()
        if group.get(key) and file.exists():
            group[key] = str(file.absolute())
    for key in ("directory", "folder", "labels", "partition"):
        if plain["data"].get(key):
            plain["data"][key] = str(pathlib.Path(plain["data"][key]).expanduser().absolute())
    return plain


def save_config(workdir: str | os.PathLike[str], config: Mapping[str, Any]) -> None:
    """Write the config to `config.json` in the run's directory, whole or not at all.

    It gets the key `network_digests`: what the network files hold that the training depends on, by
    role, for `check_contents`, and the same of the file that it begins with.

    Raises:
      NetworkFileError: if one of these files is missing.
    """
    plain = to_json(config)
    files = plain.get("networks", {})
    digests = {role: networks.digest(files[role]) for role in TRAINING_ROLES if files.get(role)}
    if plain.get(_BACKBONE):
        digests[_BACKBONE] = networks.digest(plain[_BACKBONE])
    write_json(pathlib.Path(workdir) / CONFIG_FILE, {**plain, "network_digests": digests})


def load_config(workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the config of a run.

    Keys that configs no longer have are dropped where they say what all runs now do, and kept
    otherwise: such a run can be edited with and evaluated, but not continued.

    Raises:
      FileNotFoundError: if the directory holds no run.
      ConfigError: if the file is damaged.
    """
    path = pathlib.Path(workdir) / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file; {workdir} must be the --workdir of a training run"
        )
    try:
        return _brought_up(json.loads(path.read_text()))
    except ValueError as error:
        raise ConfigError(f"{path}: not a config of a run ({error})") from error


def load_method_config(workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the config of a run that has trained a method, as by `load_config`.

    Raises:
      FileNotFoundError: if the directory holds no run.
      ConfigError: if the file is damaged, or the run has trained a network for a role of
        `config.networks`.
    """
    config = load_config(workdir)
    if role := config.get("role"):
        file = pathlib.Path(workdir) / f"{role}.safetensors"
        raise ConfigError(
            f"{workdir}: expected a run that has trained a method; this one trains a network for"
            f" others: --config.networks.{role}={file}"
        )
    return config


def with_networks(config: dict[str, Any], replaced: Sequence[str]) -> dict[str, Any]:
    """A config with other network files.

    Args:
      config: of a run.
      replaced: ROLE=FILE for each, as after `--network`.

    Raises:
      ConfigError: naming what is no such thing.
    """
    files = dict(config["networks"])
    for entry in replaced:
        role, separator, file = entry.partition("=")
        if not separator or role not in ROLES or not file:
            raise ConfigError(
                f"--network={entry}: expected ROLE=FILE, where ROLE is one of {', '.join(ROLES)}"
            )
        files[role] = file
    return {**config, "networks": files}


def _brought_up(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it would be written today: with the keys that it is too old to have, and without
    those that say what has long been the only way.
    """
    if "role" in config:  # which says nothing of a method, and never did
        return dict(config)
    found = {**DEFAULTS, **config}
    for group in GROUP_DEFAULTS.keys() & found.keys():
        found[group] = {**GROUP_DEFAULTS[group], **found[group]}
    for left_out in (_RETIRED, _SILENT):
        for group in left_out.keys() & found.keys():
            without = left_out[group].items()
            found[group] = {key: x for key, x in found[group].items() if (key, x) not in without}
    return found


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


def _content_complaints(
    files: Mapping[str, str], digests: Mapping[str, str], *, prefix: str = "config.networks"
) -> list[str]:
    return [
        f"{prefix}.{role}: {files[role]} does not hold the network that the run was begun"
        f" with (digest {found}, then {digest})"
        for role, digest in digests.items()
        if (found := networks.digest(files[role])) != digest
    ]


def check_resumable(
    old: Mapping[str, Any], new: Mapping[str, Any], keys: Collection[str] | None = None
) -> None:
    """Make sure that a run which began with the config `old` (as by `load_config`) may go on with
    `new` (as by `to_json`).

    Args:
      old: the config that the run began with.
      new: the one that it is to go on with.
      keys: dotted names of what the run reads of it (`RunSettings.keys`): whatever else differs
        means nothing. None compares everything.

    Raises:
      ConfigError: if they differ in anything but lengths, intervals, places and the networks of the
        evaluation.
      NetworkFileError: if a network file of `new` is missing.
    """
    before, after = _flatten(_binding(old)), _flatten(_binding(new))
    begun = dict(old.get("network_digests", {}))
    backbone = begun.pop(_BACKBONE, None)
    is_of_content = bool(backbone and new.get(_BACKBONE))
    if is_of_content:  # not of the place
        before[_BACKBONE] = after[_BACKBONE]
    gone = {f"{group}.{key}" for group, keys in _RETIRED.items() for key in keys}
    changed = [
        f"config.{key} was {before[key]!r}, which training no longer offers"
        for key in sorted(gone & before.keys())
    ]
    changed += [
        f"config.{key} was {before.get(key)!r} and is now {after.get(key)!r}"
        for key in sorted((before.keys() | after.keys()) - gone)
        if before.get(key) != after.get(key) and (keys is None or is_within(f"config.{key}", keys))
    ]
    if is_of_content:
        changed += _content_complaints(new, {_BACKBONE: backbone}, prefix="config")
    changed += _content_complaints(new.get("networks", {}), begun)
    if changed:
        raise ConfigError(
            "this run was begun with another config; give it back, or choose another --workdir:\n"
            + "\n".join(changed)
        )


def is_within(key: str, groups: Collection[str]) -> bool:
    """Whether a dotted name is among these, or below one of them."""
    return any(key == group or key.startswith(f"{group}.") for group in groups)


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
