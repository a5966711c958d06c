import numpy as np

from sdflow_jax.evaluation import EditOutcomes
from sdflow_jax.evaluation.plots import preservation_figure, semantic_variables_figure


def outcomes(attributes):
    success = np.array([[0, 0, 1], [0, 1, 1], [0, 1, 1], [0, 0, 1]], float)
    identity = np.array([[1, 0.8, 0.6]] * 4)
    return EditOutcomes(
        strengths=np.array([0.0, 0.5, 1.0]),
        success=success,
        identity=identity,
        identity_original=identity,
        attributes=np.full((4, 3), attributes),
        num_excluded=0,
    )


def test_curves_are_drawn_through_the_measured_points():
    figure = preservation_figure({"Young": outcomes(1.0), "A+B": outcomes(0.5)}, num_resamples=20)
    left, right = figure.axes
    curves = {line.get_label(): line for line in left.lines}
    np.testing.assert_allclose(curves["young"].get_xdata(), [0, 0.5, 1])
    np.testing.assert_allclose(curves["young"].get_ydata(), [1, 0.8, 0.6])
    assert "all at once (a + b)" in curves
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in (left, right))
    assert "4 faces per curve" in figure.get_supxlabel()


def test_nothing_is_drawn_where_no_attribute_is_left_to_preserve():
    _, right = preservation_figure({"Young": outcomes(np.nan)}, num_resamples=20).axes
    assert [line.get_label() for line in right.lines if line.get_label() == "young"] == []


def test_histograms_name_what_reads_the_variables():
    values = np.random.default_rng(0).uniform(0, 1, (9, 2))
    names = ("Young", "Wearing_Hat")
    figure = semantic_variables_figure(values, values, names, reader="training classifier")
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["read by the training classifier", "training classifier"]
    assert [axes.get_title("left") for axes in figure.axes] == ["Young", "Wearing hat"]
