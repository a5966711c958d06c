"""The kinds of checkpoint that can be converted, and how to tell them apart by their keys."""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from converters.errors import CheckpointError

# Names on the command line. Each is a module of this package with KIND, matches, convert and
# restore; and with notes, if its network file must say more than where it comes from.
KINDS = ("stylegan2", "mobile_stylegan", "e4e", "resnet", "arcface", "flow", "latent_transformer")

# What a user can decide where a checkpoint leaves it open: flag, and the kind that it is for.
_OPTIONS = {
    "average_of": ("--average-of", "e4e"),
    "encoder_type": ("--encoder-type", "e4e"),
    "noises": ("--noises", "stylegan2"),
    "class_label": ("--class", "stylegan2"),
}


def load_kind(name: str) -> ModuleType:
    """The converter module of a kind."""
    return importlib.import_module(f"converters.{name}")


def recognise(tree: Any) -> str:
    """The one kind whose keys `tree` has.

    Raises:
      CheckpointError: if no kind or several kinds match.
    """
    matching = [name for name in KINDS if load_kind(name).matches(tree)]
    if len(matching) == 1:
        return matching[0]
    known = ", ".join(KINDS)
    if matching:
        raise CheckpointError(
            f"the keys fit several kinds ({', '.join(matching)}); choose one with --kind"
        )
    raise CheckpointError(f"expected the keys of one of {known}; got {describe(tree)}")


def check_options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `options` that are given (not None).

    Raises:
      CheckpointError: if one is for another kind of checkpoint.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        flag, fitting = _OPTIONS[name]
        if kind != fitting:
            raise CheckpointError(
                f"{flag} is for: {load_kind(fitting).KIND}; the checkpoint holds:"
                f" {load_kind(kind).KIND}"
            )
    return given


def describe(tree: Any) -> str:
    """A short description of what a checkpoint holds, for messages."""
    if not isinstance(tree, dict):
        return f"a {type(tree).__name__}"
    keys = [str(key)[:40] for key in list(tree)[:4]]
    return f"a dictionary of {len(tree)}: {', '.join(keys)}{', ...' if len(tree) > 4 else ''}"
