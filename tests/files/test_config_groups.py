import math

import pytest

from sdflow_jax.files.config_groups import ConfigError, Group


def complaints_of(values, read):
    group = Group(values)
    read(group)
    return group.complaints


def test_good_values_come_back_as_they_are():
    group = Group({"rate": 0.5, "steps": 3, "sizes": [8, 4], "kind": "a", "on": True, "name": None})
    assert group.number("rate", above=0, below=1) == 0.5
    assert group.whole("steps", least=1) == 3 and group.wholes("sizes") == (8, 4)
    assert group.choice("kind", ("a", "b")) == "a" and group.flag("on") is True
    assert group.text("name") == ""
    group.complain_of_unread()
    group.finish()


@pytest.mark.parametrize("value", ["1.0", math.nan, math.inf, True, None, -1.0])
def test_what_is_no_number_in_its_range_is_named(value):
    found = complaints_of({"rate": value}, lambda g: g.number("rate", least=0, expected="a rate"))
    assert found == [f"config.rate must be a rate, got {value!r}"]


@pytest.mark.parametrize("value", [2.0, "2", True, 0])
def test_what_is_no_whole_number_in_its_range_is_named(value):
    assert complaints_of({"steps": value}, lambda g: g.whole("steps", least=1)) == [
        f"config.steps must be at least 1, got {value!r}"
    ]


def test_missing_and_mistyped_keys_are_named_with_their_group():
    def read(config):
        group = config.group("solver")
        group.number("rtol", expected="positive")
        group.complain_of_unread()

    assert complaints_of({"solver": {"rtoll": 1.0}}, read) == [
        "config.solver.rtol is missing; it must be positive",
        "config.solver.rtoll is no setting; the settings are rtol",
    ]
    assert complaints_of({"solver": 5}, read)[0] == (
        "config.solver must be a group of settings, got 5"
    )


def test_all_mistakes_of_all_groups_are_told_at_once():
    config = Group({"a": {"x": 0}, "b": {"y": "no"}})
    config.group("a").whole("x", least=1)
    config.group("b").flag("y")
    with pytest.raises(ConfigError) as error:
        config.finish()
    assert str(error.value).splitlines() == [
        "config.a.x must be at least 1, got 0",
        "config.b.y must be True or False, got 'no'",
    ]
