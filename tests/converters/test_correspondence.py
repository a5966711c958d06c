import numpy as np
import pytest

from converters.correspondence import (
    CHANNELS,
    CONV,
    LINEAR,
    MAPS,
    PLANE,
    POINTWISE,
    VECTOR,
    Entry,
    flattened_linear,
    one_more_axis,
    to_flax,
    to_torch,
)

LAYOUTS = {
    "vector": (VECTOR, (5,), (5,)),
    "linear": (LINEAR, (3, 5), (5, 3)),
    "conv": (CONV, (4, 3, 1, 2), (1, 2, 3, 4)),
    "pointwise": (POINTWISE, (4, 3, 1, 1), (3, 4)),
    "maps": (MAPS, (4, 2, 3), (2, 3, 4)),
    "plane": (PLANE, (1, 1, 2, 3), (2, 3)),
    "channels": (CHANNELS, (1, 4, 1, 1), (4,)),
    "one_more_axis": (one_more_axis(LINEAR), (1, 3, 5), (5, 3)),
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


def test_arrays_without_dimensions_keep_none():
    entries = [Entry("noise.weight", "convs/0/noise_strength", VECTOR)]
    arguments = {"resolution": 8, "style_dim": 2, "channels": {"4": 2, "8": 2}}
    state_dict = {"noise.weight": np.array(0.25, np.float32)}
    flat = to_flax(state_dict, entries, "Generator", arguments, source="test")
    assert flat["convs/0/noise_strength"].shape == ()
    restored = to_torch(flat, entries)
    assert restored["noise.weight"].shape == () and restored["noise.weight"] == 0.25
