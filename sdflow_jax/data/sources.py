"""Opening the image source that a config names."""

from collections.abc import Mapping
from typing import Any

from sdflow_jax.data.image_source import ImageSource
from sdflow_jax.data.settings import SOURCES, DataSettings
from sdflow_jax.files.late_import import imported


def open_source(
    data: DataSettings, networks: Mapping[str, str], image_size: int
) -> tuple[ImageSource, dict[str, Any]]:
    """Open the faces that a config names.

    Args:
      data: `source`, a key of `SOURCES`, and what that source reads besides; `directory` is where
        it may keep what it has found out of its files.
      networks: role -> network file, of the same config.
      image_size: side of the images in pixels, as the inversion encoder takes them; 0 leaves it to
        a source that needs no encoder.

    Returns:
      The source and JSON-able facts that determine its faces.

    Raises:
      DataError: for faces that the source cannot give.
    """
    return imported(SOURCES[data.source])(data, networks, image_size)
