import numpy as np
import pytest

from sdflow_jax.images.batching import batches_of, map_batches, pad_batch


def test_function_sees_one_batch_size_and_padding_leaves_no_trace():
    seen = []

    def function(x, tree):
        seen.append(x.shape)
        return {"sum": x + tree["y"][:, 0]}

    x, y = np.arange(7.0), np.arange(14.0).reshape(7, 2)
    result = map_batches(function, 3, x, {"y": y})
    np.testing.assert_array_equal(result["sum"], x + y[:, 0])
    assert seen == [(3,)] * 3


def test_batches_keep_the_order_and_the_last_is_shorter():
    assert [list(batch) for batch in batches_of(np.arange(5), 2)] == [[0, 1], [2, 3], [4]]
    assert list(batches_of([], 2)) == []


def test_padding_repeats_the_last_row():
    np.testing.assert_array_equal(pad_batch(np.array([[1], [2]]), 4), [[1], [2], [2], [2]])


@pytest.mark.parametrize("lengths", [(2, 3), (0, 0)])
def test_lengths_must_agree_and_not_be_zero(lengths):
    with pytest.raises(ValueError, match="one nonzero length"):
        map_batches(lambda a, b: a, 2, *(np.zeros(length) for length in lengths))
