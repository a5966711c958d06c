import numpy as np
from flax import nnx

from sdflow_jax.methods.latent_transformer.losses import (
    latent_classifier_loss,
    transformer_losses,
)
from sdflow_jax.methods.latent_transformer.networks import AttributeTransformers, LatentClassifier

STYLES, DIM, ATTRIBUTES = 2, 3, 4
COLUMNS = (2, 0)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _numpy_logits(classifier, w_plus):
    hidden = np.asarray(w_plus, np.float64).reshape(len(w_plus), -1)
    for index, layer in enumerate(classifier.layers):
        hidden = hidden @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...])
        if index < len(classifier.layers) - 1:
            hidden = np.where(hidden > 0, hidden, classifier.negative_slope * hidden)
    return hidden


def _setting():
    random = np.random.default_rng(0)
    classifier = LatentClassifier(STYLES, DIM, (5,), ATTRIBUTES, rngs=nnx.Rngs(1))
    transformers = AttributeTransformers(len(COLUMNS), STYLES, DIM, rngs=nnx.Rngs(2))
    w_plus = random.standard_normal((16, STYLES, DIM)).astype(np.float32)
    correlation = random.uniform(0, 1, (ATTRIBUTES, ATTRIBUTES)).astype(np.float32)
    return classifier, transformers, w_plus, correlation


def test_every_term_equals_its_formula():
    classifier, transformers, w_plus, correlation = _setting()
    found = transformer_losses(
        transformers, classifier, w_plus, columns=COLUMNS, correlation=correlation
    )
    before = _numpy_logits(classifier, w_plus)
    expected = dict.fromkeys(found, 0.0)
    for transformer, column in zip(transformers.transformers, COLUMNS, strict=True):
        p = _sigmoid(before[:, column])
        target = np.where(p > 0.5, 0.0, 1.0)
        kernel = np.asarray(transformer.kernel[...], np.float64) / np.sqrt(DIM)
        edited = w_plus + (target - p)[:, None, None] * np.einsum("bni,nio->bno", w_plus, kernel)
        after = _numpy_logits(classifier, edited)
        q = _sigmoid(after[:, column])
        surprise = -np.where(target == 1, np.log(q), np.log(1 - q))
        # Both directions count the same, however many faces go either way.
        expected["classification"] += surprise[target == 1].mean() + surprise[target == 0].mean()
        for other in set(range(ATTRIBUTES)) - {column}:
            gap = (1 - correlation[column, other]) * (after[:, other] - before[:, other])
            expected["attribute"] += np.mean(gap**2) / ATTRIBUTES
        expected["reconstruction"] += np.mean((edited - w_plus) ** 2)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)


def test_transformers_share_nothing_so_neither_sees_the_other():
    classifier, transformers, w_plus, correlation = _setting()

    def gradient_of_first(columns, transformers):
        def loss(t):
            terms = transformer_losses(
                t, classifier, w_plus, columns=columns, correlation=correlation
            )
            return sum(terms.values())

        return np.asarray(nnx.grad(loss)(transformers)["transformers"][0]["kernel"][...])

    alone = AttributeTransformers(1, STYLES, DIM, rngs=nnx.Rngs(2))
    np.testing.assert_allclose(
        gradient_of_first(COLUMNS, transformers), gradient_of_first(COLUMNS[:1], alone), rtol=1e-4
    )


def test_latent_classifier_learns_probabilities():
    classifier, _, w_plus, _ = _setting()
    predictions = np.random.default_rng(3).uniform(0.1, 0.9, (16, ATTRIBUTES)).astype(np.float32)
    q = _sigmoid(_numpy_logits(classifier, w_plus))
    expected = -np.mean(predictions * np.log(q) + (1 - predictions) * np.log(1 - q))
    found = latent_classifier_loss(classifier, w_plus, predictions)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
