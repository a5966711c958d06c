import numpy as np
import pytest

from converters.correspondence import CONV, LINEAR, VECTOR, flattened_linear

LAYOUTS = {
    "vector": (VECTOR, (5,), (5,)),
    "linear": (LINEAR, (3, 5), (5, 3)),
    "conv": (CONV, (4, 3, 1, 2), (1, 2, 3, 4)),
    "flattened_linear": (flattened_linear(2), (5, 3 * 4), (4 * 3, 5)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_backward_undoes_forward(name):
    layout, torch_shape, flax_shape = LAYOUTS[name]
    array = np.arange(np.prod(torch_shape), dtype=np.float32).reshape(torch_shape)
    forward = layout.forward(array)
    assert forward.shape == flax_shape
    np.testing.assert_array_equal(layout.backward(forward), array)


def test_flattened_linear_reads_the_same_map_with_channels_last():
    random = np.random.default_rng(0)
    weight, feature_map = random.normal(size=(4, 3 * 25)), random.normal(size=(2, 3, 5, 5))
    expected = feature_map.reshape(2, -1) @ weight.T
    channels_last = feature_map.transpose(0, 2, 3, 1).reshape(2, -1)
    np.testing.assert_allclose(channels_last @ flattened_linear(5).forward(weight), expected)
