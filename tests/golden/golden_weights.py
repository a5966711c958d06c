"""Weights of the golden cases, drawn anew from a case's description instead of being stored.

A case describes every array of the original PyTorch module: key, shape, dtype and how it is
initialized. Each key has a random stream of its own, so an array depends on its own line and the
case's seed alone. `digest` tells whether this machine draws the very bits that the outputs were
recorded with.
"""

import json
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

StateDict = dict[str, np.ndarray]


class GoldenCase(NamedTuple):
    """A case: its description, the weights of one module, and the recorded inputs and outputs."""

    description: dict[str, Any]
    state_dict: StateDict
    arrays: dict[str, np.ndarray]


def load_case(path: str | pathlib.Path, part: str | None = None) -> GoldenCase:
    """Read a case and draw the weights of its module.

    Args:
      path: the case's files without their endings.
      part: the module to draw, for a case with several.

    Raises:
      ValueError: if the weights drawn here are not those of the recording.
    """
    path = pathlib.Path(path)
    description = json.loads(path.with_name(path.name + ".json").read_text())
    owner = description if part is None else description["modules"][part]
    weights = owner["weights"]
    state_dict = draw_state_dict(weights["spec"], weights["seed"])
    if digest(state_dict) != weights["digest"] and not np.allclose(
        sums(state_dict), weights["sums"], rtol=1e-9
    ):
        raise ValueError(f"{path.name}: this machine's random numbers differ from the recording's")
    with np.load(path.with_name(path.name + ".npz")) as arrays:
        return GoldenCase(description, state_dict, dict(arrays))


def draw_state_dict(spec: Mapping[str, Mapping[str, Any]], seed: int) -> StateDict:
    """All arrays that `spec` describes, in its order."""
    return {
        key: draw_array(key, tuple(line["shape"]), line["dtype"], line["init"], seed)
        for key, line in spec.items()
    }


def draw_array(
    key: str, shape: tuple[int, ...], dtype: str, init: Mapping[str, Any], seed: int
) -> np.ndarray:
    """One array: computed in float64, then cast.

    The kinds of `init`, where N is a standard normal draw and U one from [0, 1): `normal` is
    std N; `uniform` is lo + (hi - lo) U; `ones_noise` is scale (1 + std N); `const` and `counter`
    are their value; `fir` is the outer product of its taps with themselves, with sum `gain`.

    Raises:
      ValueError: for another kind.
    """
    random = np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}:{key}".encode())))
    match init["kind"]:
        case "normal":
            values = init["std"] * random.standard_normal(shape)
        case "uniform":
            values = init["lo"] + (init["hi"] - init["lo"]) * random.random(shape)
        case "ones_noise":
            values = init["scale"] * (1.0 + init["std"] * random.standard_normal(shape))
        case "const" | "counter":
            values = np.full(shape, init["value"])
        case "fir":
            taps = np.asarray(init["taps"], np.float64)
            values = np.outer(taps, taps)
            values = values / values.sum() * init["gain"]
        case kind:
            raise ValueError(f"{key}: unknown kind of weights {kind!r}")
    return np.asarray(values).astype(dtype).reshape(shape)


def digest(state_dict: Mapping[str, np.ndarray]) -> str:
    """Checksum of keys, dtypes, shapes and little-endian bytes, as 8 hexadecimal digits.

    Keys come in sorted order; scalars count as vectors of length 1.
    """
    checksum = 0
    for key in sorted(state_dict):
        array = np.atleast_1d(state_dict[key])
        line = f"{key}|{array.dtype.name}|{list(array.shape)}"
        checksum = zlib.crc32(line.encode(), checksum)
        little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        checksum = zlib.crc32(little_endian.tobytes(), checksum)
    return f"{checksum:08x}"


def sums(state_dict: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Sum and absolute sum of everything, which another machine's last bits leave nearly alone."""
    arrays = [np.asarray(array, np.float64) for array in state_dict.values()]
    return sum(float(a.sum()) for a in arrays), sum(float(np.abs(a).sum()) for a in arrays)
