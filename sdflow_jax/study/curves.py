"""Figures 4 and 5: preservation against editing accuracy, a line for each method."""

from collections.abc import Mapping, Sequence

import numpy as np

from sdflow_jax.evaluation.drawing import Figure, PercentFormatter, styled
from sdflow_jax.evaluation.plots import CAPTION_COLOR, COLORS, COMBINED_COLOR, STYLE, readable
from sdflow_jax.study.areas import LEVELS, MEASURES, Resampled, interval

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
) -> Figure:
    """A column of panels for each request, a row for each measure.

    Args:
      curves: (method, request, measure) -> the curves.
      titles: method -> its title; the last method is in black, on top.
      requests: their names.
      caption: written below.
    """
    with styled(STYLE):
        size = (2.9 * len(requests) + 0.6, 6.2)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(2, len(requests), sharex=True, sharey="row", squeeze=False)
        for row, measure in enumerate(MEASURES):
            for column, request in enumerate(requests):
                axes = panels[row][column]
                for index, (method, title) in enumerate(titles.items()):
                    is_last = index == len(titles) - 1
                    color = COMBINED_COLOR if is_last else COLORS[index % len(COLORS)]
                    found = curves.get((method, request, measure))
                    if found is not None:
                        _line(axes, found, color, title, 2.2 if is_last else 1.5)
                axes.xaxis.set_major_formatter(PercentFormatter(1.0))
                axes.set_xlim(0.0, 1.0)
                if row == 0:
                    axes.set_title(request_title(request).replace(" (", "\n("))
                else:
                    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
                    axes.set_xlabel("editing accuracy")
                if column == 0:
                    axes.set_ylabel(_LABELS[measure])
                if not any((method, request, measure) in curves for method in titles):
                    _leave_empty(axes, panels[0][column])
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        figure.supxlabel(caption, fontsize=8, color=CAPTION_COLOR, x=0.01, ha="left")
    return figure


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
