import numpy as np

from converters.state_dict import find_state_dict, is_state_dict, select_prefix, strip_prefix

ARRAY = np.ones(1)


def test_only_a_leading_prefix_is_taken_off():
    keys = strip_prefix({"module.a": ARRAY, "module.b.module.c": ARRAY, "d": ARRAY})
    assert list(keys) == ["a", "b.module.c", "d"]


def test_entries_are_selected_by_prefix():
    assert list(select_prefix({"encoder.a": ARRAY, "decoder.b": ARRAY}, "encoder.")) == ["a"]


def test_first_named_state_dictionary_is_found():
    tree = {"g": {"x": ARRAY}, "g_ema": {"y": ARRAY}, "latent_avg": ARRAY}
    assert list(find_state_dict(tree, "g_ema", "g")) == ["y"]
    assert list(find_state_dict({"y": ARRAY}, "g_ema")) == ["y"]
    assert find_state_dict(tree, "d") == {}
    assert find_state_dict([ARRAY], "d") == {}


def test_what_is_no_state_dictionary():
    for value in ({}, {1: ARRAY}, {"a": [1]}, [ARRAY], None):
        assert not is_state_dict(value)
