"""Warnings that point at the user's line, however deep in the package they arise."""

import os
import pathlib
import sys
import warnings

_PACKAGE = f"{pathlib.Path(__file__).parent}{os.sep}"


def warn_caller(message: str) -> None:
    """Warn (`UserWarning`) about what the nearest code outside this package has given."""
    level, frame = 1, sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
