"""Names of things that are imported when they are asked for.

A registry of such names can lie below what it names: it brings in no module but the one that is used.
"""

import importlib
from typing import Any


def imported(place: str) -> Any:
    """The thing that "module:name" stands for.

    Raises:
      ImportError: if there is no such module.
      AttributeError: if the module has no such name.
    """
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
