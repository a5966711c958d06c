import pathlib

import pytest


@pytest.fixture
def marker_of_execution():
    """The file that the hostile golden checkpoints would create if anything in them were run."""
    marker = pathlib.Path("/tmp") / "PWNED_BY_PICKLE"
    assert not marker.exists(), f"{marker} is left from something else; remove it"
    return marker
