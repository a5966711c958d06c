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


def test_many_requests_stand_in_bands_of_one_scale():
    requests = [f"Attribute_{letter}" for letter in "abcde"] + ["+".join("abcde")]
    found = {}
    for place, name in enumerate(requests):
        flat = np.full(len(LEVELS), 0.9 - 0.1 * place)
        found["ours", name, "identity"] = found["ours", name, "attributes"] = Resampled(
            *(5, 3, flat, np.tile(flat, (2, 3, 1)), 0.9, np.ones((2, 3)), 1.0, np.ones((2, 3)))
        )
    figure = curves_figure(found, {"ours": "Ours"}, requests, caption="")
    drawn = [axes for axes in figure.axes if axes.axison]
    titled = {title: axes for axes in drawn if (title := axes.get_title(loc="left"))}
    assert list(titled) == [*map(request_title, requests[:-1]), "all at once\n(a + b + c + d + e)"]
    below = [axes for axes in drawn if axes.get_xlabel()]
    assert len(titled) == len(below) == len(drawn) / 2 == len(requests)
    for measure in (titled.values(), below):
        assert len({axes.get_ylim() for axes in measure}) == 1
