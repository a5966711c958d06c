import numpy as np

from sdflow_jax.study.areas import LEVELS, Resampled
from sdflow_jax.study.curves import curves_figure, request_title


def test_combined_requests_are_told_apart_by_what_they_combine():
    assert request_title("Wearing_Hat") == "Wearing hat"
    assert request_title("Male+Young") == "Male + young"
    assert request_title("Male+Young+Hat") == "all at once (male + young + hat)"


def test_panel_without_curves_says_why():
    flat = np.full(len(LEVELS), 0.9)
    drawn = Resampled(
        *(5, 3, flat, np.tile(flat, (2, 3, 1)), 0.9, np.ones((2, 3)), 1.0, np.ones((2, 3)))
    )
    requests = ["Male", "Male+Young"]
    found = {("ours", name, "identity"): drawn for name in requests}
    found["ours", "Male", "attributes"] = drawn
    figure = curves_figure(found, {"ours": "Ours"}, requests, caption="")
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert texts == [[], [], [], ["these judges know\nno other attribute"]]
    assert [bool(axes.lines) for axes in figure.axes] == [True, True, True, False]
    assert figure.axes[1].get_xlabel() == "editing accuracy"
