import numpy as np
import pytest

from sdflow_jax.methods.interfacegan.linear_svm import fit_linear_svm


def objective(w, b, features, labels, penalty):
    violations = np.maximum(0, 1 - labels * (features @ w + b))
    return w @ w / 2 + penalty * violations.sum()


def test_two_points_have_the_known_solution():
    w, b = fit_linear_svm(np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([-1, 1]), penalty=10)
    np.testing.assert_allclose(w, [1, 0], atol=1e-7)
    assert b == pytest.approx(-1, abs=1e-7)


@pytest.mark.parametrize("shape", [(60, 4), (30, 50)])  # fewer and more features than examples
@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_no_other_hyperplane_is_better(shape, penalty):
    rng = np.random.default_rng(0)
    labels = np.repeat([-1, 1], shape[0] // 2)
    features = rng.standard_normal(shape) + 0.5 * labels[:, None] + 3.0
    w, b = fit_linear_svm(features, labels, penalty=penalty)
    best = objective(w, b, features, labels, penalty)
    for scale in (1e-1, 1e-3, 1e-5):
        for _ in range(200):
            step_w, step_b = scale * rng.standard_normal(shape[1]), scale * rng.standard_normal()
            other = objective(w + step_w, b + step_b, features, labels, penalty)
            assert other > best - 1e-7 * best


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_units_of_the_features_do_not_matter(scale):
    rng = np.random.default_rng(1)
    labels = np.repeat([-1, 1], 20)
    features = rng.standard_normal((40, 3)) + labels[:, None]
    w, b = fit_linear_svm(features, labels)
    scaled_w, scaled_b = fit_linear_svm(features * scale, labels, penalty=1 / scale**2)
    np.testing.assert_allclose(scaled_w * scale, w, rtol=1e-5)
    assert scaled_b == pytest.approx(b, rel=1e-5)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.ones((2, 2)), [1, 1], "both present"),
        (np.ones((2, 2)), [0, 1], "both present"),
        (np.ones((2, 2)), [1, -1, 1], "expected features"),
        (np.full((2, 2), np.nan), [1, -1], "finite"),
    ],
)
def test_bad_examples_are_refused(features, labels, message):
    with pytest.raises(ValueError, match=message):
        fit_linear_svm(features, np.array(labels))
