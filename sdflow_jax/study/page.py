"""The results page: every sentence of it follows from the numbers, but for the reading of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdflow_jax.study.areas import (
    MEASURES,
    Estimate,
    Resampled,
    accuracy_lead,
    estimate,
    preservation_lead,
)
from sdflow_jax.study.curves import request_title
from sdflow_jax.study.plan import Settings, Study

JUDGES = {
    "config": "the evaluation classifier and the identity encoder of the config",
    "external": "dlib's face embedding and dlib's age and gender networks",
}
_MEASURE_TITLES = {"identity": "identity", "attributes": "other attributes"}

Areas = Mapping[tuple[str, str, str], Resampled]


def results_page(
    study: Study,
    settings: Settings,
    areas: Mapping[str, Areas],
    summaries: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    pictures: Sequence[str],
    core_seconds: Mapping[str, float],
    reading: str = "",
) -> str:
    """The page as Markdown.

    Args:
      study: what was compared.
      settings: how much was computed.
      areas: judge -> (method, request, measure) -> curves and areas.
      summaries: (method, judge) -> the evaluation's summary for each seed.
      pictures: names of the picture files beside the page, in order.
      core_seconds: wall time of each step times the processor cores it had.
      reading: what a person makes of it, Markdown.
    """
    main = settings.judges[0]
    hours = sum(core_seconds.values()) / 3600
    blocks = [
        "# Results",
        "Written by `make figures` from the numbers in [`points.csv`](points.csv) and"
        " [`areas.csv`](areas.csv). Only what stands under *Reading*, if anything, is by hand, from"
        " `reading.md`.",
        f"Training seeds of each method: {settings.seeds}. Faces: the {settings.split} split."
        f" {hours:.1f} hours of one processor core for what this page needed, trainings and"
        " evaluations, without the pictures.",
        "An edit drives an attribute to its opposite, harder and harder. *Accuracy* is the share of"
        " faces on which the judge sees the attribute turned, *identity* the cosine of the identity"
        " embeddings of the edited and the unedited reconstruction, *other attributes* the share of"
        " the judge's other decisions that stay.",
        "The area under a curve is the mean preservation over accuracies from 0 to 95%; an accuracy"
        " that a method does not reach counts 0, so that areas tell of reach above all. Brackets:"
        " 95% bootstrap intervals over"
        f" {resampled_over(settings.seeds)}. Leads compare the same faces.",
        "The methods share faces, networks and solver, not the care that went into their settings:"
        " SDFlow's loss weights and learning rates were chosen by looking at validation faces, the"
        " baselines' are their authors' or plain choices. StyleFlow is its flow and its loss; its"
        " authors' editing also puts back all styles outside a range picked by hand for each"
        " attribute of their generator, which has no counterpart here.",
    ]
    if reading:
        blocks += ["## Reading", reading.strip()]
    for judge in settings.judges:
        blocks.append(f"## Methods, judged by {JUDGES.get(judge, judge)}")
        blocks.append(
            f"On the first {settings.faces_for(judge)} faces of the split, less those on which the"
            " judge and the training classifier disagree before any edit."
        )
        blocks.append(_area_table(study.methods, areas[judge]))
        blocks += _lead_table(study, areas[judge])
    blocks.append("## Ablation")
    blocks.append(
        "Each row adds a loss to the one above; the first is StyleFlow's training. Up to mi the"
        " frozen classifier reads the semantic variables; with kd a semantic encoder takes its place,"
        f" trained with the flow. Judged by {JUDGES.get(main, main)}."
    )
    blocks.append(_area_table(study.ablation, areas[main]))
    sampling = _sampling_table(study, summaries, main)
    if sampling:
        blocks += [
            "## Sampling",
            "New faces under every combination of the attributes: how often the judge finds what"
            " was asked, and the mean identity distance of two faces of one combination, beside"
            f" that of two different {settings.split} faces. Codes are drawn for each style apart"
            " (independent) or once for all styles of a face (shared).",
            sampling,
        ]
    agreement = _agreement_table(study, summaries)
    if agreement:
        blocks += [
            "## Agreement of the judges",
            f"{study.methods[study.ours]}, first seed: the same faces shown to both sets of judges."
            " For each attribute the share of equal decisions and the correlation of the"
            " probabilities; for identity the correlation of the cosines.",
            agreement,
        ]
    blocks.append("## Figures")
    blocks += [f"![{name.partition('.')[0]}]({name})" for name in pictures]
    return "\n\n".join(blocks) + "\n"


def resampled_over(seeds: int) -> str:
    """What the bootstrap resamples."""
    return "faces and training seeds" if seeds > 1 else "faces (of the one training seed)"


def _cell(found: Estimate | None) -> str:
    return "–" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _area_table(titles: Mapping[str, str], areas: Areas) -> str:
    requests = list(dict.fromkeys(request for _, request, _ in areas))
    rows = []
    for request in requests:
        for method, title in titles.items():
            found = [areas.get((method, request, measure)) for measure in MEASURES]
            if not any(found):
                continue
            cells = [_cell(x and estimate(x.area, x.areas)) for x in found]
            some = next(x for x in found if x is not None)
            ends = [f"{some.highest_accuracy:.1%}", f"{some.num_faces}"]
            rows.append([request_title(request), title, *cells, *ends])
    titles_of_measures = [_MEASURE_TITLES[name] for name in MEASURES]
    heads = ["edit", "method", *titles_of_measures, "highest accuracy", "faces"]
    return markdown_table(heads, rows)


def _lead_table(study: Study, areas: Areas) -> list[str]:
    """Where SDFlow is ahead and where it is not, by the intervals of the leads."""
    ours = study.methods[study.ours]
    rows, leads = [], []
    for request in dict.fromkeys(request for _, request, _ in areas):
        for method, title in study.methods.items():
            pairs = {
                measure: (areas[study.ours, request, measure], areas[method, request, measure])
                for measure in MEASURES
                if method != study.ours and (method, request, measure) in areas
            }
            if not pairs:
                continue
            found = [accuracy_lead(*next(iter(pairs.values())))]
            found += [preservation_lead(*pair) for pair in pairs.values()]
            leads += found
            cells = [_signed(x) for x in found] + ["–"] * (len(MEASURES) - len(pairs))
            rows.append([request_title(request), title, *cells])
    ahead, behind = sum(x.low > 0 for x in leads), sum(x.high < 0 for x in leads)
    sentence = (
        f"{ours}'s lead over the other methods: in the highest accuracy, and in what is preserved on"
        " average over the accuracies that both reach. Of these"
        f" {len(leads)} comparisons {ours} is ahead in {ahead} (▲) and behind in {behind} (▼); in the"
        " rest the interval holds 0. The intervals are not corrected for the number of comparisons."
    )
    heads = ["edit", "against", "highest accuracy", *(_MEASURE_TITLES[x] for x in MEASURES)]
    return [sentence, markdown_table(heads, rows)]


def _signed(found: Estimate) -> str:
    mark = " ▲" if found.low > 0 else " ▼" if found.high < 0 else ""
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]{mark}"


def _sampling_table(study: Study, summaries, judge: str) -> str:
    rows = []
    names: list[str] = []
    for method, title in study.titles.items():
        seeds = [
            summary["sampling"] for summary in summaries[method, judge] if "sampling" in summary
        ]
        for kind in seeds[0] if seeds else ():
            names = list(seeds[0][kind]["accuracy"])
            accuracies = [np.mean([s[kind]["accuracy"][name] for s in seeds]) for name in names]
            diversity, faces = (
                np.mean([s[kind][key] for s in seeds])
                for key in ("diversity", "diversity_of_faces")
            )
            rows.append(
                [title, kind, *(f"{x:.1%}" for x in accuracies), f"{diversity:.3f}", f"{faces:.3f}"]
            )
    if not rows:
        return ""
    return markdown_table(["method", "codes", *names, "diversity", "of real faces"], rows)


def _agreement_table(study: Study, summaries) -> str:
    found = summaries.get((study.ours, "external"))
    if not found:
        return ""
    agreement, num_faces = found[0]["agreement"], found[0]["num_faces"]
    names = [
        name for name in agreement["unedited"] if name not in ("num_faces", "identity_correlation")
    ]
    rows = []
    for request, entry in agreement.items():
        title = request if request == "unedited" else request_title(request)
        if entry["num_faces"] != num_faces:
            title += f" ({entry['num_faces']} of {num_faces})"
        cells = [
            f"{_number(entry[name]['same_decision'], '.1%')}, {_number(entry[name]['correlation'])}"
            for name in names
        ]
        rows.append([title, _number(entry["identity_correlation"]), *cells])
    return markdown_table(["faces", "identity", *names], rows)


def _number(value: float | None, form: str = ".2f") -> str:
    return "–" if value is None else format(value, form)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text cells."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
