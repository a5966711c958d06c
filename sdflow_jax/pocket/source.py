"""The pocket world's faces as the image source "pocket" of a config."""

import hashlib
from collections.abc import Mapping
from typing import Any

from sdflow_jax.data.image_source import DataError
from sdflow_jax.data.settings import DataSettings
from sdflow_jax.pocket.faces import WEIGHTS, PocketFaces


def open_pocket(
    data: DataSettings, networks: Mapping[str, str], image_size: int
) -> tuple[PocketFaces, dict[str, Any]]:
    """Open the first `data.limits` faces of each split; see `open_source`.

    Raises:
      DataError: if the encoder takes another size than the faces have.
    """
    del networks  # the faces have a source of their own
    source = PocketFaces(data.limits)
    if image_size != source.image_size:
        raise DataError(
            f"pocket faces have {source.image_size} pixels, the inversion encoder takes"
            f" {image_size}; set config.networks.inversion_encoder to pocket:inversion_encoder"
        )
    files = sorted(WEIGHTS.glob("teacher.*")) + sorted(WEIGHTS.glob("alignments.*"))
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}
    return source, {"kind": "pocket", "limits": dict(data.limits), "files": digests}
