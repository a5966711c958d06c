"""The public functions under a few examples of each property; `python -m reliability` tries 500."""

import pytest

pytest.importorskip("hypothesis")

from reliability import properties
from reliability.small_editor import small_editor


@pytest.fixture(scope="module")
def checks():
    return properties.properties(small_editor())


def test_properties_hold(checks):
    wrong = {name: properties.attempt(check, 12, seed=0) for name, check in checks.items()}
    assert len(wrong) >= 10 and not any(wrong.values()), wrong
