"""What the registry promises of every method."""

import subprocess
import sys

import pytest

from sdflow_jax.files import networks
from sdflow_jax.files.late_import import imported
from sdflow_jax.files.run_config import ConfigError
from sdflow_jax.methods.registry import (
    METHODS,
    find_method,
    networks_of_methods,
    trained_networks,
)


@pytest.mark.parametrize("name", METHODS)
def test_a_room_offers_all_that_is_asked_of_it(name):
    method = find_method(name)
    assert all(callable(getattr(method, part)) for part in ("read", "train", "load"))
    assert method.exports
    for network, place in method.networks.items():
        assert imported(place).__name__ == network  # network files store the name of the class


def test_no_network_has_two_places():
    owned = [name for method in METHODS for name in find_method(method).networks]
    assert len(owned) == len(set(owned)) and not set(owned) & networks.REGISTRY.keys()
    assert set(networks_of_methods()) == set(owned)


def test_a_run_of_a_later_version_is_named(tmp_path):
    assert trained_networks(tmp_path) == []
    (tmp_path / "config.json").write_text('{"method": "later"}')
    with pytest.raises(ConfigError, match="expected a run of sdflow, .* says 'later'"):
        trained_networks(tmp_path)


def test_unknown_network_is_refused_with_all_that_are_known():
    with pytest.raises(
        networks.NetworkFileError, match=r"'Nobody'.*AttributeDirections.*Generator"
    ):
        networks.build("Nobody", {})


def test_the_package_is_imported_without_what_only_training_needs():
    heavy = ("orbax", "grain", "tensorflow_datasets", "matplotlib")
    program = f"import sdflow_jax, sys; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stdout + found.stderr
