import io

import numpy as np
import pytest

from converters.errors import CheckpointError
from converters.npy_reader import read_npy


def saved(path, array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    path.write_bytes(stream.getvalue())
    return path


def test_the_array_is_read(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(read_npy(saved(tmp_path / "a.npy", array)), array)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"}", b" "),  # a header that is left open
        (b"'<f4'", b"'<f9'"),
        (b"'<f4'", b"[[[[["),
        (b"(2, 3)", b"(2,-3)"),
        (b"(2, 3)", b"9" * 6),
        (b"'descr'", b"\xff" * 7),
    ],
)
def test_damaged_headers_are_refused_by_name(tmp_path, old, new):
    path = saved(tmp_path / "a.npy", np.zeros((2, 3), np.float32))
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(CheckpointError, match=r"a\.npy: not a readable \.npy file"):
        read_npy(path)


def test_objects_and_archives_are_refused(tmp_path):
    objects = saved(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(CheckpointError, match=r"o\.npy: not a readable"):
        read_npy(objects)
    np.savez(tmp_path / "z.npz", a=np.zeros(2))
    with pytest.raises(CheckpointError, match=r"z\.npz: expected one array"):
        read_npy(tmp_path / "z.npz")
    with pytest.raises(CheckpointError, match="No such file"):
        read_npy(tmp_path / "missing.npy")
