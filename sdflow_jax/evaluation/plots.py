"""The figures of an evaluation."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from sdflow_jax.evaluation.curves import EditOutcomes, preservation_band
from sdflow_jax.evaluation.drawing import Axes, Figure, Patch, PercentFormatter, styled
from sdflow_jax.images.pixels import to_bytes

# Okabe and Ito's colors, told apart by color-blind readers too; the combined edit is black.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
COMBINED_COLOR = "#222222"
_MARKERS = ("o", "s", "^", "D", "v", "P")
STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#222222",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
}
CAPTION_COLOR = "#666666"
_CENTERED = {"ha": "center", "va": "center"}
CELL_INCHES = 1.25


def readable(name: str) -> str:
    """An attribute's name for a reader: `Wearing_Hat` is "wearing hat"."""
    return name.replace("_", " ").replace("+", " + ").lower()


def preservation_figure(
    outcomes: Mapping[str, EditOutcomes], *, num_resamples: int = 500
) -> Figure:
    """Identity and attribute preservation against editing accuracy, one curve per request.

    Markers are measured points, joined by straight lines in the order of rising strength; bands are
    95% bootstrap intervals over the faces.
    """
    with styled(STYLE):
        figure = Figure(figsize=(10.0, 5.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharex=True)
        for index, (name, outcome) in enumerate(outcomes.items()):
            look = _look(name, index)
            _curve(left, outcome, outcome.identity, num_resamples, **look)
            _curve(right, outcome, outcome.attributes, num_resamples, **look)
        left.set_title("Identity")
        left.set_ylabel("identity preservation (cosine of embeddings)")
        right.set_title("Other attributes")
        right.set_ylabel("attribute preservation (decisions unchanged)")
        right.yaxis.set_major_formatter(PercentFormatter(1.0))
        for axes in (left, right):
            axes.set_xlim(0.0, 1.02)
            axes.set_ylim(top=1.0 + 0.02 * (1.0 - axes.get_ylim()[0]))
            axes.xaxis.set_major_formatter(PercentFormatter(1.0))
            axes.axvline(0.99, color="#BBBBBB", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
            axes.set_xlabel("editing accuracy (faces turned to the opposite)")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4))
        counts = [outcome.num_faces for outcome in outcomes.values()]
        faces = f"{counts[0]}" if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
        figure.supxlabel(
            f"{faces} faces per curve, judged by networks that did not train the method."
            " Reference: the unedited reconstruction.\n"
            "Markers: rising edit strength, up to 99% accuracy (dashed) or the strongest edit tried."
            " Bands: 95% bootstrap over faces. Upper right is better.",
            fontsize=8,
            color=CAPTION_COLOR,
            x=0.01,
            ha="left",
        )
    return figure


def semantic_variables_figure(
    semantic_variables: Float[np.ndarray, "f a"],
    predictions: Float[np.ndarray, "f a"],
    attributes: Sequence[str],
    *,
    reader: str,
) -> Figure:
    """Histograms of semantic variables, with the training classifier's probabilities as outlines.

    Args:
      semantic_variables: as the method reads them.
      predictions: the training classifier's probabilities of the same attributes.
      attributes: names of the columns.
      reader: what reads the semantic variables, in words.
    """
    columns = min(len(attributes), 3)
    rows = math.ceil(len(attributes) / columns)
    with styled(STYLE):
        figure = Figure(figsize=(3.4 * columns + 0.6, 2.6 * rows + 1.1), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
        bins = np.linspace(0.0, 1.0, 26)
        for index, axes in enumerate(grid.flat):
            if index >= len(attributes):
                axes.set_visible(False)
                continue
            color = COLORS[index % len(COLORS)]
            values, predicted = semantic_variables[:, index], predictions[:, index]
            share = np.full(len(values), 1.0 / len(values))
            axes.hist(values, bins, weights=share, color=color, alpha=0.55)
            axes.hist(
                predicted,
                bins,
                weights=share,
                histtype="step",
                color="#222222",
            )
            graded = np.mean((values > 0.1) & (values < 0.9))
            axes.set_title(readable(attributes[index]).capitalize())
            axes.annotate(
                f"{graded:.0%} between 0.1 and 0.9",
                (0.5, 0.97),
                xycoords="axes fraction",
                ha="center",
                va="top",
                fontsize=8,
                color=CAPTION_COLOR,
            )
            axes.set_xlim(0.0, 1.0)
            # Room for the note above the bars.
            axes.set_ylim(top=1.15 * axes.get_ylim()[1])
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
            if index % columns == 0:
                axes.set_ylabel("share of faces")
            if index >= len(attributes) - columns:
                axes.set_xlabel("semantic variable")
                axes.xaxis.set_tick_params(labelbottom=True)
        handles = [
            Patch(color="#999999", alpha=0.55, label=f"read by the {reader}"),
            Patch(fill=False, edgecolor="#222222", label="training classifier"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
        figure.supxlabel(
            f"{len(semantic_variables)} faces, the originals.",
            fontsize=8,
            color=CAPTION_COLOR,
            x=0.01,
            ha="left",
        )
    return figure


def _num_lines(text: str) -> int:
    return text.count("\n") + 1


def edit_grid_figure(
    images: Sequence[Sequence[Float[np.ndarray, "h w 3"]]],
    columns: Sequence[str],
    notes: Sequence[Sequence[str]],
    *,
    caption: str,
) -> Figure:
    """A table of images, a face per row.

    Args:
      images: for each face its images, in [-1, 1] and of any size.
      columns: a heading for each column.
      notes: for each face and column a few words to write below the image, possibly none.
      caption: written below the table.
    """
    rows, count = len(images), len(columns)
    gap, note = 0.03, 0.15  # in units of an image's side, as all these
    head = 0.04 + 0.12 * max(_num_lines(words) for words in columns)
    foot = 0.10 + 0.12 * _num_lines(caption)
    width, height = count * (1 + gap) + gap, head + rows * (1 + note) + foot
    with styled(STYLE):
        figure = Figure(figsize=(CELL_INCHES * width, CELL_INCHES * height))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for column in range(count):
            left = gap + column * (1 + gap)
            middle = left + 0.5
            axes.text(
                middle, 0.5 * head, columns[column], fontsize=9, fontweight="bold", **_CENTERED
            )
            for row in range(rows):
                top = head + row * (1 + note)
                axes.imshow(
                    to_bytes(images[row][column]),
                    extent=(left, left + 1, top + 1, top),
                    interpolation="lanczos",
                )
                axes.text(
                    middle,
                    top + 1 + 0.45 * note,
                    notes[row][column],
                    fontsize=7,
                    color=CAPTION_COLOR,
                    **_CENTERED,
                )
        axes.text(
            2 * gap, height - 0.5 * foot, caption, fontsize=7.5, va="center", color=CAPTION_COLOR
        )
        # Each picture has set the limits to its own.
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
    return figure


def _look(name: str, index: int) -> dict:
    if "+" in name:
        return {
            "label": f"all at once ({readable(name)})",
            "color": COMBINED_COLOR,
            "marker": "*",
            "markersize": 8,
        }
    return {
        "label": readable(name),
        "color": COLORS[index % len(COLORS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 4.5,
    }


def _curve(axes: Axes, outcome: EditOutcomes, preservation, num_resamples: int, **look) -> None:
    if not np.isfinite(preservation).all():
        return  # no other attributes to preserve
    accuracy = outcome.success.mean(0)
    axes.plot(accuracy, preservation.mean(0), linewidth=1.6, **look)
    levels = np.linspace(accuracy[0], accuracy.max(), 80)
    band = preservation_band(outcome.success, preservation, levels, num_resamples=num_resamples)
    axes.fill_between(levels, band.low, band.high, color=look["color"], alpha=0.14, linewidth=0)
