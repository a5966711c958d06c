import dataclasses
import json

import numpy as np
import pytest

from sdflow_jax.data.image_source import DataError
from sdflow_jax.data.training_latents import TrainingLatents
from sdflow_jax.methods.interfacegan.boundary import Boundary
from sdflow_jax.methods.interfacegan.settings import InterFaceGANSettings
from sdflow_jax.methods.interfacegan.training import fit_boundaries, unit_directions
from tests.data.correlated_latents import correlated_latents

ATTRIBUTES = ("Young", "Male")
SETTINGS = InterFaceGANSettings(extremes=0.25, train_share=0.8, penalty=10.0, conditional=True)


@pytest.fixture
def latents() -> TrainingLatents:
    return correlated_latents()


@pytest.mark.parametrize("conditional", [False, True])
def test_unit_leads_from_those_without_to_those_with_the_attribute(latents, conditional):
    boundaries, separations, report = fit_boundaries(latents, ATTRIBUTES, SETTINGS, seed=0)
    assert min(entry["validation_accuracy"] for entry in report.values()) > 0.95
    directions = unit_directions(boundaries, separations, conditional=conditional)
    normals = np.stack([boundary.normal for boundary in boundaries])
    effect = normals @ directions.T  # of direction j on the distance to boundary i
    np.testing.assert_allclose(np.diag(effect), separations, rtol=1e-4)
    others = effect[~np.eye(2, dtype=bool)]
    if conditional:
        np.testing.assert_allclose(others, 0, atol=1e-4)
    else:
        assert np.abs(others).min() > 0.1  # the attributes are correlated
    # The boundary of Young, second of the classifier's and first of ours, ignores the first number.
    assert abs(normals[0, 0]) < 0.2 < normals[0, 1]


def test_report_has_nothing_where_there_was_nothing_to_measure(latents):
    settings = dataclasses.replace(SETTINGS, train_share=1.0)
    *_, report = fit_boundaries(latents, ("Young",), settings, seed=0)
    assert {key for key, x in report["Young"].items() if x is None} == {"validation_accuracy"}
    json.dumps(report, allow_nan=False)


def test_attribute_of_which_all_faces_have_as_much_is_named(latents):
    undecided = latents._replace(predictions=np.full_like(latents.predictions, 0.5))
    with pytest.raises(DataError, match="Young: the classifier says the same of all"):
        fit_boundaries(undecided, ("Young",), SETTINGS, seed=0)


def test_direction_along_the_boundary_of_another_attribute_is_refused():
    same = Boundary(np.array([1.0, 0.0], np.float32))
    with pytest.raises(ValueError, match="span of the conditions"):
        unit_directions([same, same], [1.0, 1.0], conditional=True)
