import numpy as np
import pytest

from converters.check import check_keys, compare_keys
from converters.errors import CheckpointError


def test_equal_keys_and_shapes_pass():
    check_keys({"a": np.ones((2, 3))}, {"a": (2, 3)}, source="net")


def test_every_difference_has_its_line():
    found = {"same": np.ones(2), "extra": np.ones(3), "shape": np.ones((2, 3))}
    expected = {"same": (2,), "lost": (4,), "shape": (3, 2)}
    head, *lines = compare_keys(found, expected)
    assert "expected" in head and "found" in head
    assert [line.split()[:2] for line in lines] == [["+", "extra"], ["-", "lost"], ["!", "shape"]]
    assert "(3, 2)" in lines[2] and "(2, 3)" in lines[2]


def test_message_counts_and_names_the_source():
    with pytest.raises(CheckpointError, match="the net does not fit.*1 keys missing, 2 unexpected"):
        check_keys({"x": np.ones(1), "y": np.ones(1)}, {"a": (1,)}, source="the net")


def test_long_report_is_cut():
    found = {f"k{i}": np.ones(1) for i in range(500)}
    with pytest.raises(CheckpointError) as caught:
        check_keys(found, {}, source="the net")
    assert len(str(caught.value).splitlines()) < 50
    assert "and 461 more" in str(caught.value)
