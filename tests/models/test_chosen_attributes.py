import numpy as np
import pytest

from sdflow_jax.files import networks
from tests.filled_networks import filled_network

CLASSIFIER = {
    "depth": 18,
    "num_attributes": 3,
    "num_age_thresholds": 2,
    "width": 2,
    "stem_pool": False,
    "head_sizes": [],
}


def test_chosen_columns_are_read_in_their_order_and_without_the_age_network():
    reader = filled_network("ChosenAttributes", {"classifier": CLASSIFIER, "columns": [2, 0]})
    images = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    expected = reader.classifier(images)[:, np.array([2, 0])]
    del reader.classifier.age_extractor
    assert reader.num_attributes == 2
    np.testing.assert_array_equal(reader(images), expected)


def test_column_beyond_the_attributes_is_refused():
    with pytest.raises(ValueError, match=r"below the classifier's 3 attributes, got \(0, 3\)"):
        networks.build_abstract("ChosenAttributes", {"classifier": CLASSIFIER, "columns": [0, 3]})
