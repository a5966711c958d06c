"""Every table of the comparison as Markdown, each a function of what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdflow_jax.study.areas import HIGHEST, MEASURES, Estimate, estimate, holm
from sdflow_jax.study.curves import request_title
from sdflow_jax.study.independence import CODES
from sdflow_jax.study.measured import (
    Areas,
    Lead,
    Measured,
    kinds_of,
    levels_of,
    mean_kept,
    mean_reach,
    requests_of,
)
from sdflow_jax.study.plan import Study
from sdflow_jax.study.probes import PROBES

MEASURE_TITLES = {"identity": "identity", "attributes": "other attributes"}
_WHAT = {"reach": "highest accuracy", **MEASURE_TITLES}


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text cells."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(found: Estimate | None, form: str = ".3f") -> str:
    """A value with its interval, or a dash."""
    if found is None:
        return "–"
    return f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]"


def overview_table(
    measured: Measured, titles: Mapping[str, str], judges: str, *, has_costs: bool = True
) -> str:
    """A row for each method and kind of edit: reach, what is kept at equal accuracy, and cost."""
    areas = measured.areas[judges]
    levels = levels_of(areas, list(titles))
    rows = []
    for kind, requests in kinds_of(areas).items():
        for method, title in titles.items():
            kept = [mean_kept(areas, method, requests, x, levels) for x in MEASURES]
            cost = measured.costs.get(method)
            costs = []
            if has_costs:
                costs = [number(cost and cost.training, ".0f"), number(cost and cost.edit, ".2f")]
            reach = _reach_cell(mean_reach(areas, method, requests))
            rows.append([kind, title, reach, *map(cell, kept), *costs])
    heads = ["edits", "method", "highest accuracy", *MEASURE_TITLES.values()]
    heads += ["s to train", "ms an edit"] if has_costs else []
    return markdown_table(heads, rows)


def _reach_cell(found: Estimate | None) -> str:
    """Where every draw is at `HIGHEST` there is nothing to tell of less."""
    if found is not None and found.low >= HIGHEST - 1e-9:
        return f"{HIGHEST:.0%} or more"
    return cell(found, ".1%")


def area_table(titles: Mapping[str, str], areas: Areas) -> str:
    """The area under each curve and the highest accuracy, for every edit and method."""
    rows = []
    for request in requests_of(areas):
        for method, title in titles.items():
            found = [areas.get((method, request, measure)) for measure in MEASURES]
            if not any(found):
                continue
            cells = [cell(x and estimate(x.area, x.areas, x.degrees)) for x in found]
            some = next(x for x in found if x is not None)
            ends = [f"{some.highest_accuracy:.1%}", f"{some.num_faces}"]
            rows.append([request_title(request), title, *cells, *ends])
    heads = ["edit", "method", *MEASURE_TITLES.values(), "highest accuracy", "faces"]
    return markdown_table(heads, rows)


def marks(leads: Sequence[Lead]) -> list[str]:
    """▲ for a lead and ▼ for the opposite, of those that hold for all comparisons together (Holm)."""
    rejected = holm([lead.found.p_value for lead in leads])
    return [
        ("▲" if lead.found.value > 0 else "▼") if is_rejected else ""
        for lead, is_rejected in zip(leads, rejected, strict=True)
    ]


HOW_DECIDED = (
    "A comparison is decided (▲, ▼) by what faces make it differ by, taken for normally distributed, and what trainings"
    " make it differ by, as Student's t with the degrees of freedom of Welch and Satterthwaite, at 5% with Holm's"
    " correction for all comparisons that are counted together. Brackets are 95% intervals of each comparison by"
    " itself, the bootstrap's percentiles widened in the same way."
)


def count_sentence(leads: Sequence[Lead], whose: str) -> str:
    """How many comparisons are decided; `HOW_DECIDED` says how."""
    if leads and not any(lead.degrees for lead in leads):
        return (
            f"None of {len(leads)} comparisons is decided: with one training a method nothing tells how far another"
            " would differ. Brackets are 95% intervals over faces alone."
        )
    found = marks(leads)
    ahead, behind = found.count("▲"), found.count("▼")
    return (
        f"Of {len(leads)} comparisons {whose} is ahead in {ahead} (▲) and behind in {behind} (▼); the rest is"
        " undecided."
    )


def lead_table(leads: Sequence[Lead], titles: Mapping[str, str]) -> str:
    """A row for each edit and pair of methods."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for lead, mark in zip(leads, marks(leads), strict=True):
        row = rows.setdefault((lead.request, lead.method, lead.other), {})
        found = lead.found
        words = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}] {mark}"
        row[lead.what] = words.strip()
        if lead.level is not None:
            row["level"] = f"{lead.level:.0%}"
    titled = {**_WHAT, "level": "at accuracy"}
    keys = ["reach", "level", *MEASURES]
    if not any("level" in row for row in rows.values()):  # means over several edits
        keys.remove("level")
    heads = ["edit", "method", "over", *(titled[key] for key in keys)]
    return markdown_table(
        heads,
        [
            [request_title(request), titles[a], titles[b], *(row.get(key, "–") for key in keys)]
            for (request, a, b), row in rows.items()
        ],
    )


def entanglement_table(measured: Measured, titles: Mapping[str, str]) -> str:
    """What each edit moves, beside the correlation in the data; empty if it was not measured."""
    found = {x: measured.entanglement[x] for x in titles if x in measured.entanglement}
    if not found:
        return ""
    first = next(iter(found.values()))
    rows = [
        [request_title(name), "in the data", "", *(f"{x:+.2f}" for x in row)]
        for name, row in zip(first.edited, measured.correlation, strict=True)
    ]
    for index, name in enumerate(first.edited):
        rows += [
            [
                request_title(name),
                titles[method],
                f"{x.levels[index]:.0%}",
                *(f"{value:+.2f}" for value in x.moves[index]),
            ]
            for method, x in found.items()
        ]
    order = {request_title(name): position for position, name in enumerate(first.edited)}
    rows.sort(key=lambda row: order[row[0]])  # each edit's correlations above its moves
    heads = ["edited", "method", "at accuracy", *map(request_title, first.judged)]
    return markdown_table(heads, rows)


def drag_table(measured: Measured, titles: Mapping[str, str]) -> str:
    """Entanglement in two numbers a method; empty if it was not measured."""
    rows = [
        [titles[method], cell(found.drag), cell(found.following)]
        for method in titles
        if (found := measured.entanglement.get(method))
    ]
    heads = ["method", "mean move of what was not asked", "slope on the data's own moves"]
    return markdown_table(heads, rows) if rows else ""


def independence_table(
    measured: Measured, titles: Mapping[str, str], attributes: Sequence[str]
) -> str:
    """What probes tell of s from z, and from w; empty if there is no flow."""
    rows = []
    for method, title in titles.items():
        for code in CODES:
            for probe in PROBES:
                found = measured.independence.get((method, code, probe))
                if found:
                    cells = [
                        f"{cell(area, '.2f')}; {accuracy.value:.0%}" if area else "–"
                        for area, accuracy in zip(found["area"], found["accuracy"], strict=True)
                    ]
                    rows.append([title, f"{code}, {probe}", *cells])
    heads = ["method", "told from, by", *map(request_title, attributes)]
    return markdown_table(heads, rows) if rows else ""


def mean_independence_table(measured: Measured, titles: Mapping[str, str]) -> str:
    """The same in short: a row for each flow, the mean area over the attributes; empty if there is no flow."""
    columns = [(code, probe) for code in CODES for probe in PROBES]
    rows = []
    for method, title in titles.items():
        found = [measured.independence.get((method, *column)) for column in columns]
        if any(found):
            rows.append([title, *(cell(x and x["mean area"][0], ".2f") for x in found)])
    heads = ["method", *(f"from {code}, {probe}" for code, probe in columns)]
    return markdown_table(heads, rows) if rows else ""


def sampling_table(
    titles: Mapping[str, str],
    summaries: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    judges: str,
) -> str:
    """New faces: how often they are what was asked, and how different; empty if no method samples."""
    rows = []
    names: list[str] = []
    for method, title in titles.items():
        seeds = [
            summary["sampling"]
            for summary in summaries.get((method, judges), ())
            if "sampling" in summary
        ]
        for kind in seeds[0] if seeds else ():
            names = list(seeds[0][kind]["accuracy"])
            accuracies = [np.mean([s[kind]["accuracy"][name] for s in seeds]) for name in names]
            diversity, faces = (
                np.mean([np.nan if s[kind][key] is None else s[kind][key] for s in seeds])
                for key in ("diversity", "diversity_of_faces")
            )
            rows.append(
                [title, kind, *(f"{x:.1%}" for x in accuracies), f"{diversity:.3f}", f"{faces:.3f}"]
            )
    if not rows:
        return ""
    return markdown_table(["method", "codes", *names, "diversity", "of real faces"], rows)


def agreement_table(
    study: Study, summaries: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
) -> str:
    """How far both sets of judges agree; empty if only one has judged."""
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
            f"{number(entry[name]['same_decision'], '.1%')}, {number(entry[name]['correlation'])}"
            for name in names
        ]
        rows.append([title, number(entry["identity_correlation"]), *cells])
    return markdown_table(["faces", "identity", *names], rows)


def number(value: float | None, form: str = ".2f") -> str:
    """A number, or a dash for None."""
    return "–" if value is None else format(value, form)
