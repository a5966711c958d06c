"""What the networks said of a data set's faces, kept on the disk until the data set is whole."""

import contextlib
import hashlib
import io
import os
import pathlib
import shutil

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from sdflow_jax.files.atomic import write_atomic, write_text

Annotations = tuple[Float32[np.ndarray, "b n d"], Float32[np.ndarray, "b a"]]

_OWNER = "owner"
_SEAL_BYTES = hashlib.sha256().digest_size


class AnnotationCache:
    """Annotated batches, a file each; only those are given back that are whole and of the same faces.

    Args:
      directory: theirs alone; made with the first file.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self._directory = pathlib.Path(directory)

    def begin(self, owner: str) -> None:
        """Note for whom batches are kept from now on."""
        write_text(self._directory / _OWNER, owner)

    def is_of(self, owner: str) -> bool:
        """Whether the batches that are there were kept for `owner` last."""
        with contextlib.suppress(OSError):
            return (self._directory / _OWNER).read_text() == owner
        return False

    def load(
        self, name: str, ids: Int64[np.ndarray, "b"], images: UInt8[np.ndarray, "b h w 3"]
    ) -> Annotations | None:
        """The `w_plus` and `predictions` kept under a name; None if there are none, they are of other
        faces, or the file is damaged.
        """
        try:
            stored = (self._directory / name).read_bytes()
        except FileNotFoundError:
            return None
        seal, content = stored[:_SEAL_BYTES], stored[_SEAL_BYTES:]
        if seal != _seal(ids, images, content):
            return None
        with np.load(io.BytesIO(content)) as arrays:
            return arrays["w_plus"], arrays["predictions"]

    def save(
        self,
        name: str,
        ids: Int64[np.ndarray, "b"],
        images: UInt8[np.ndarray, "b h w 3"],
        annotations: Annotations,
    ) -> None:
        """Keep a batch under a name, whole or not at all; replaces what was kept under it."""
        w_plus, predictions = annotations
        stream = io.BytesIO()
        np.savez(stream, w_plus=w_plus, predictions=predictions)
        content = stream.getvalue()
        sealed = _seal(ids, images, content) + content
        write_atomic(self._directory / name, lambda file: file.write(sealed))

    def remove(self) -> None:
        """Remove all that was kept."""
        shutil.rmtree(self._directory, ignore_errors=True)


def _seal(ids: np.ndarray, images: np.ndarray, content: bytes) -> bytes:
    """Changes with the faces and with the content.

    The images are part of it, and not only their identifiers: a file may have been replaced since.
    """
    digest = hashlib.sha256(np.ascontiguousarray(ids))
    digest.update(np.ascontiguousarray(images))
    digest.update(content)
    return digest.digest()
