import jax
import numpy as np
import pytest

from sdflow_jax.files import networks
from tests.filled_networks import filled_network


@pytest.mark.parametrize(
    ("hidden_sizes", "shapes"), [((), [(32, 3)]), ((6, 7), [(32, 6), (6, 7), (7, 3)])]
)
def test_hidden_sizes_lie_between_features_and_output(hidden_sizes, shapes):
    arguments = {"num_attributes": 3, "depth": 18, "width": 4, "hidden_sizes": hidden_sizes}
    expected = networks.expected_shapes("SemanticEncoder", arguments)
    kernels = [expected[f"hidden/{i}/kernel"] for i in range(len(hidden_sizes))]
    assert [*kernels, expected["output/kernel"]] == shapes
    assert sum(key.startswith("hidden") for key in expected) == 2 * len(hidden_sizes)


def test_semantic_variables_are_the_sigmoid_of_the_logits():
    encoder = filled_network("SemanticEncoder", {"num_attributes": 3, "depth": 18, "width": 4})
    images = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 32, 32, 3)).astype(np.float32)
    logits, semantic = jax.jit(lambda e, x: (e.logits(x), e(x)))(encoder, images)
    np.testing.assert_allclose(semantic, 1 / (1 + np.exp(-np.asarray(logits))), atol=1e-6)
    assert np.abs(logits[0] - logits[1]).max() > 1e-4
