"""The image source that a config asks for, with the facts that determine its faces."""

import hashlib
from collections.abc import Mapping
from typing import Any

from sdflow_jax.data.image_folder import ImageFolder
from sdflow_jax.data.image_source import DataError, ImageSource
from sdflow_jax.pocket import faces


def open_source(data: Mapping[str, Any], image_size: int) -> tuple[ImageSource, dict[str, Any]]:
    """Open the faces that `config.data` names.

    Args:
      data: `source` "pocket" with `limits` (split -> number of faces), or "folder" with `folder` (a
        directory), `splits` (split -> first and last + 1 in the order of the file names) and
        `num_threads` (files decoded at a time).
      image_size: side in pixels that the inversion encoder takes.

    Returns:
      The source and JSON-able facts that determine its faces.

    Raises:
      DataError: for another `source`, or pocket faces at another size than theirs.
    """
    if data["source"] == "pocket":
        source = faces.PocketFaces(dict(data["limits"]))
        if image_size != source.image_size:
            raise DataError(
                f"pocket faces have {source.image_size} pixels, the inversion encoder takes"
                f" {image_size}; set config.networks.inversion_encoder to pocket:inversion_encoder"
            )
        files = sorted(faces.WEIGHTS.glob("teacher.*")) + sorted(faces.WEIGHTS.glob("alignments.*"))
        digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}
        return source, {"kind": "pocket", "limits": dict(data["limits"]), "files": digests}
    if data["source"] == "folder":
        folder = ImageFolder(
            data["folder"],
            dict(data["splits"]),
            image_size=image_size,
            num_threads=data["num_threads"],
        )
        return folder, folder.describe()
    raise DataError(f"config.data.source must be 'pocket' or 'folder', got {data['source']!r}")
