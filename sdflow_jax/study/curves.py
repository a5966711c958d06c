"""Figures 4 and 5: preservation against editing accuracy, a line for each method."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from sdflow_jax.evaluation.drawing import Figure, PercentFormatter, styled
from sdflow_jax.evaluation.plots import CAPTION_COLOR, COLORS, COMBINED_COLOR, STYLE, readable
from sdflow_jax.study.areas import LEVELS, MEASURES, Resampled, interval

_MOST_BESIDE = 4  # requests in a band: more would be too small to read
_LONGEST_LINE = 34  # letters above a panel
_LABELS = {
    "identity": "identity preservation\n(cosine of embeddings)",
    "attributes": "attribute preservation\n(decisions unchanged)",
}


def request_title(request: str) -> str:
    """A request for a reader."""
    if request.count("+") > 1:
        return f"all at once ({readable(request)})"
    return readable(request).capitalize()


def curves_figure(
    curves: Mapping[tuple[str, str, str], Resampled],
    titles: Mapping[str, str],
    requests: Sequence[str],
    *,
    caption: str,
    colors: Mapping[str, str] | None = None,
    strangers: float | None = None,
) -> Figure:
    """Two panels for each request, one above the other for the two measures, in as many bands as they need.

    Args:
      curves: (method, request, measure) -> the curves.
      titles: method -> its title; the last method's line is thick, on top.
      requests: their names.
      caption: written below.
      colors: method -> color; by default each has another, and the last is black.
      strangers: identity of two different faces, which is marked.
    """
    colors = colors or colors_of(list(titles))
    width = min(len(requests), _MOST_BESIDE)
    bands = math.ceil(len(requests) / width)
    with styled(STYLE):
        figure = Figure(figsize=(2.9 * width + 0.6, 5.6 * bands + 0.6), layout="constrained")
        panels = figure.subplots(len(MEASURES) * bands, width, sharex=True, squeeze=False)
        for place, request in enumerate(requests):
            band, column = divmod(place, width)
            own = panels[len(MEASURES) * band :][: len(MEASURES), column]
            for axes, scale, measure in zip(own, panels[:, 0], MEASURES, strict=False):
                if axes is not scale:  # a measure has one scale everywhere
                    axes.sharey(scale)
                    axes.yaxis.set_tick_params(labelleft=column == 0)
                for index, (method, title) in enumerate(titles.items()):
                    is_last = index == len(titles) - 1
                    found = curves.get((method, request, measure))
                    if found is not None:
                        _line(axes, found, colors[method], title, 2.2 if is_last else 1.5)
                if strangers is not None and measure == "identity":
                    axes.axhline(strangers, color=CAPTION_COLOR, linewidth=0.8, linestyle="--")
                axes.xaxis.set_major_formatter(PercentFormatter(1.0))
                axes.set_xlim(0.0, 1.0)
                if measure == "attributes":
                    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
                if column == 0:
                    axes.set_ylabel(_LABELS[measure])
                if not any((method, request, measure) in curves for method in titles):
                    _leave_empty(axes, own[0])
            own[0].set_title(_panel_title(request))
            own[-1].set_xlabel("editing accuracy")
            own[-1].xaxis.set_tick_params(labelbottom=True)
        for axes in panels[-len(MEASURES) :, width - (bands * width - len(requests)) :].flat:
            axes.set_axis_off()
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=min(len(labels), 2 * width)
        )
        figure.supxlabel(caption, fontsize=8, color=CAPTION_COLOR, x=0.01, ha="left")
    return figure


def colors_of(methods: Sequence[str]) -> dict[str, str]:
    """A color for each method; the last is black."""
    found = {name: COLORS[index % len(COLORS)] for index, name in enumerate(methods)}
    return {**found, methods[-1]: COMBINED_COLOR}


def _panel_title(request: str) -> str:
    """A request's title in lines that are no wider than a panel."""
    title, *explained = request_title(request).split(" (", 1)
    lines = [line for text in explained for line in textwrap.wrap(f"({text}", _LONGEST_LINE)]
    return "\n".join([title, *lines])


def _leave_empty(axes, above) -> None:
    """Say in a panel why it is empty, and give the one above it the labels of the axis."""
    axes.set_axis_off()
    reason = "these judges know\nno other attribute"
    axes.text(0.5, 0.5, reason, color=CAPTION_COLOR, ha="center", transform=axes.transAxes)
    above.xaxis.set_tick_params(labelbottom=True)
    above.set_xlabel("editing accuracy")


def _line(axes, curve: Resampled, color: str, title: str, width: float) -> None:
    axes.plot(LEVELS, curve.curve, color=color, linewidth=width, label=title)
    is_supported = np.isfinite(curve.curve) & (np.isfinite(curve.curves[0]).mean(0) >= 0.9)
    if is_supported.any():
        kept = curve.curves[..., is_supported]
        low, high = interval(curve.curve[is_supported], kept, curve.degrees)
        axes.fill_between(LEVELS[is_supported], low, high, color=color, alpha=0.14, linewidth=0)
    reached = np.flatnonzero(np.isfinite(curve.curve))
    if len(reached):  # where the strongest edits end
        axes.plot(LEVELS[reached[-1]], curve.curve[reached[-1]], "o", color=color, markersize=4)
