"""The image sources that a config can name, each opened by its own module."""

from collections.abc import Mapping
from typing import Any

from sdflow_jax.data.image_source import DataError, ImageSource
from sdflow_jax.files.late_import import imported

# config.data.source -> "module:function", which takes the config group `data` and the side in pixels that
# the inversion encoder takes, and returns the source with JSON-able facts that determine its faces.
SOURCES = {
    "pocket": "sdflow_jax.pocket.source:open_pocket",
    "folder": "sdflow_jax.data.image_folder:open_folder",
}


def open_source(data: Mapping[str, Any], image_size: int) -> tuple[ImageSource, dict[str, Any]]:
    """Open the faces that `config.data` names.

    Args:
      data: `source`, a key of `SOURCES`, and what that source reads besides.
      image_size: side in pixels that the inversion encoder takes.

    Returns:
      The source and JSON-able facts that determine its faces.

    Raises:
      DataError: for another `source`, or faces that the source cannot give.
    """
    if data["source"] not in SOURCES:
        raise DataError(
            f"config.data.source must be {' or '.join(map(repr, SOURCES))}, got {data['source']!r}"
        )
    return imported(SOURCES[data["source"]])(data, image_size)
