"""What an evaluation has measured so far, so that the next one goes on where it was killed."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.evaluation.report import outcome_arrays, outcomes_of_arrays, save_arrays
from sdflow_jax.files.code_digest import code_digest

FILE = "unfinished.npz"
_KEY = "key"  # no request's field, which have a slash
_UNREADABLE = (
    *(OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error),
)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Unfinished:
    """The outcomes of an evaluation that is under way, in a file of its directory.

    They are taken up only by an evaluation of the same key: what was measured with other networks, faces or
    settings counts for nothing.

    Attributes:
      outcomes: request -> outcome, of the requests that are done.
    """

    def __init__(self, directory: str | os.PathLike[str], key: str):
        """Read what is there.

        Args:
          directory: of the results.
          key: see `evaluation_key`.
        """
        self._file, self._key = pathlib.Path(directory) / FILE, key
        self.outcomes: dict[str, EditOutcomes] = {}
        # A file that cannot be read is none: what it held is measured again.
        with contextlib.suppress(*_UNREADABLE):
            with np.load(self._file) as file:
                arrays = dict(file)
            if arrays.pop(_KEY).item() == key:
                self.outcomes = outcomes_of_arrays(arrays)

    def keep(self, request: str, outcome: EditOutcomes) -> None:
        """Write a request's outcome beside those before."""
        self.outcomes[request] = outcome
        save_arrays(self._file, {_KEY: np.array(self._key), **outcome_arrays(self.outcomes)})

    def discard(self) -> None:
        """Remove the file: everything is in the results, which hold more."""
        self._file.unlink(missing_ok=True)


def evaluation_key(networks: Any, faces: Mapping[str, np.ndarray], notes: Mapping[str, Any]) -> str:
    """A digest of all that decides what an evaluation measures, the code too.

    Args:
      networks: method, generators and judges, pytrees of arrays; a judge that is a program counts by its name.
      faces: arrays that tell the faces from others.
      notes: JSON values: settings, and what else there is to tell apart.
    """
    digest = hashlib.sha256(json.dumps([code_digest(), notes], sort_keys=True).encode())
    # With what is no array: solvers, names of attributes, sizes.
    digest.update(_ADDRESS.sub("", repr(jax.tree.structure(networks))).encode())
    for path, leaf in jax.tree.leaves_with_path((networks, dict(faces))):
        digest.update(jax.tree_util.keystr(path).encode())
        if hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        if array.dtype == object:
            digest.update(type(leaf).__qualname__.encode())
        else:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
