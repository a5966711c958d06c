import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax.models.attribute_classifier import AttributeClassifier, AttributeHeads
from tests.filled_networks import filled_network


@pytest.fixture
def heads():
    heads = AttributeHeads(3, 4, (5, 5), rngs=nnx.Rngs(0))
    heads.eval()
    return heads


def test_each_attribute_has_a_network_of_its_own(heads):
    features = jax.random.normal(jax.random.key(1), (2, 4))
    before = heads(features)
    for layer in heads.linears:
        layer.kernel[...] = layer.kernel[...].at[1].set(0.0)
    changed = np.any(np.asarray(heads(features) != before), axis=0)
    np.testing.assert_array_equal(changed, [False, True, False])


def test_heads_are_the_composition_of_their_layers(heads):
    features = np.asarray(jax.random.normal(jax.random.key(1), (2, 4)))
    for a in range(3):
        x = features
        for i, layer in enumerate(heads.linears):
            x = x @ np.asarray(layer.kernel[...][a]) + np.asarray(layer.bias[...][a])
            part = slice(5 * a, 5 * a + 5)
            norm = heads.norms[i]
            x = (x - norm.mean[...][part][None]) / np.sqrt(norm.var[...][part][None] + 1e-5)
            x = np.maximum(x * norm.scale[...][part][None] + norm.bias[...][part][None], 0.0)
        expected = x @ np.asarray(heads.output.kernel[...][a])
        np.testing.assert_allclose(heads(features)[:, a], expected[:, 0], atol=1e-5)


def test_predictions_count_the_exceeded_age_thresholds(monkeypatch):
    classifier = nnx.eval_shape(lambda: AttributeClassifier(18, 2, 3, 4, rngs=nnx.Rngs(0)))
    logits = jnp.array([[0.1, -0.1, 5.0, 0.2, -3.0], [-2.0, 3.0, -1.0, -1.0, -1.0]])
    monkeypatch.setattr(AttributeClassifier, "logits", lambda self, images: logits)
    images = jnp.zeros((2, 8, 8, 3))
    np.testing.assert_array_equal(classifier.predictions(images), [[1, 0, 2], [0, 1, 0]])
    np.testing.assert_allclose(classifier(images), 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_attributes_are_read_without_the_age_network():
    arguments = {"depth": 18, "num_attributes": 2, "num_age_thresholds": 3, "width": 2}
    classifier = filled_network("AttributeClassifier", arguments | {"stem_pool": False})
    images = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
    everything = classifier(images)
    assert everything.shape == (3, 5)
    del classifier.age_extractor
    np.testing.assert_array_equal(classifier.attribute_probabilities(images), everything[:, :2])


def test_without_age_thresholds_there_is_no_age_network():
    def run(images):
        classifier = AttributeClassifier(18, 2, 0, 4, rngs=nnx.Rngs(0))
        assert not hasattr(classifier, "age_extractor")
        return classifier(images), classifier.predictions(images)

    outputs = jax.eval_shape(run, jax.ShapeDtypeStruct((3, 32, 32, 3), jnp.float32))
    assert [x.shape for x in outputs] == [(3, 2), (3, 2)]
