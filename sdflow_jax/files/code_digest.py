"""What tells this code from that of another day."""

import hashlib
import importlib.metadata
import pathlib

_LIBRARIES = ("jax", "jaxlib", "flax", "diffrax", "equinox", "numpy")
_PACKAGE = pathlib.Path(__file__).parents[1]


def code_digest() -> str:
    """A digest of all of the package's modules, and of the versions of the libraries that compute."""
    digest = hashlib.sha256()
    for name in _LIBRARIES:
        digest.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
