"""The results' pages: every sentence of them follows from the numbers, but for the reading of them."""

from collections.abc import Sequence

from sdflow_jax.evaluation.plots import readable
from sdflow_jax.evaluation.sampling import combinations_of
from sdflow_jax.study import tables
from sdflow_jax.study.areas import HIGHEST
from sdflow_jax.study.entanglement import HIGHEST_LEVEL
from sdflow_jax.study.measured import (
    Areas,
    Measured,
    kinds_of,
    leads,
    leads_by_kind,
    levels_of,
    strangers_of,
)
from sdflow_jax.study.plan import Settings, Study
from sdflow_jax.study.searches import NUM_TRIALS, VARIANT_SEARCHES
from sdflow_jax.study.trials_table import TABLE

_FEW = 4  # edits whose accuracies are told one by one
JUDGES = {
    "config": "the evaluation classifier and the identity encoder of the config",
    "external": "dlib's face embedding and dlib's age and gender networks",
}


def results_page(
    study: Study,
    settings: Settings,
    measured: Measured,
    pictures: Sequence[str],
    reading: str = "",
) -> str:
    """The page to read first, as Markdown: what was asked, a figure, the tables, and how to repeat it.

    Args:
      study: what was compared.
      settings: how much was computed.
      measured: what was found.
      pictures: names of the picture files beside the page.
      reading: what a person makes of it, Markdown.
    """
    main = settings.judges[0]
    ours = _either(study)
    blocks = [
        "# Results",
        "## What was asked",
        "Which way to edit faces turns what was asked, and keeps the person and everything else?"
        f" {len(study.methods)} methods edit the same {settings.split} faces in the pocket world, harder and harder,"
        f" and judges that training never met look at the pictures. {_care(study, settings)} Each method was trained"
        f" {_times(settings.seeds)}; brackets are 95% intervals over {resampled_over(settings.seeds)},"
        f" {_percentiles(settings.seeds)}.",
    ]
    blocks += [_picture(name) for name in pictures if name.startswith("figure4_methods.")]
    if reading:
        blocks += ["## Reading", reading.strip()]
    blocks += ["## The methods"]
    for judges in settings.judges:
        areas = measured.areas[judges]
        blocks += [
            f"Judged by {JUDGES.get(judges, judges)}, {settings.faces_for(judges)} faces{_of_fewer(settings, judges)}:",
            tables.overview_table(measured, study.methods, judges, has_costs=judges == main),
            f"Equal accuracy is here {_levels_in_words(study, areas)}.{_strangers(measured, judges)}",
            tables.count_sentence(leads(areas, study.comparisons), ours) + _all_leads(judges),
        ]
    blocks.append(
        "*Highest accuracy*: the share of faces on which the judges see everything turned that was asked, at the best"
        f" strength tried; strengths rise no further once {HIGHEST:.0%} turn, and what is above counts as that."
        " *Identity*, the cosine of the embeddings of edited and unedited face, and *other attributes*, the share of"
        " the judges' other decisions that stay, are taken at equal accuracy, the highest that every method reaches"
        " but for those (–) that get less than half as far as the best; – also where judges know no other attribute."
        " Seconds to train are of one run, milliseconds"
        f" of one edit in a batch of 16, both {_devices(measured)}, the least of those timed, for other runs may"
        f" have shared the machine.{_how_decided(settings)}"
    )
    if joint := [name for name in pictures if name.startswith("figure3_all.")]:
        blocks += [
            "## What it looks like",
            f"Everything at once, on the first {settings.split} faces, which nobody selected. [Single"
            " edits](tables.md#figures).",
            *map(_picture, joint),
        ]
    if steps := _steps(study):
        found = leads_by_kind(measured.areas[main], steps)
        blocks += [
            "## What each loss does",
            "Each variant adds a loss to the one before: reg holds the edited latent near the first; mi wants the"
            " edited variables to be read again off the edited face; with kd they are read by a semantic encoder that"
            " learns from the frozen classifier and takes its place. Rows are means over edits of a kind; each edit"
            " stands among [the tables](tables.md#ablation). The last row of a kind is of all losses together."
            f" {tables.count_sentence(found, 'the variant with more losses')}",
            tables.lead_table(found, study.titles),
        ]
    if drag := tables.drag_table(measured, study.titles):
        blocks += [
            "## What comes along",
            "Single edits at equal accuracy: by how much the judge's other probabilities move on average, and whether"
            " they move as they go along in the data: slope of their moves on the edited probability's own move times"
            " the slopes on it among the unedited faces (1: as the data has the others, given the edited attribute; 0:"
            " nothing to do with the data). Equal accuracy is here the highest, up to"
            f" {HIGHEST_LEVEL:.0%}, that every method and variant reaches: {_range(measured)}. The whole matrix"
            " is among [the tables](tables.md#entanglement).",
            drag,
        ]
    if told := tables.mean_independence_table(measured, study.titles):
        blocks += [
            "## Is z independent of s?",
            "A flow is to carry a face's latent w to a code z that says nothing of the semantic variables s: only then"
            " does changing s change nothing else. Probes learn from training faces to tell from z whether a semantic"
            f" variable is above one half, and are asked about {measured.num_probed} others: area under the ROC curve,"
            " the mean over the attributes. One half is chance; what the latent w itself tells stands beside it. [Every"
            " attribute](tables.md#independence).",
            told,
        ]
    blocks += [
        "## What does not hold",
        f"Faces and judges are of one small world, {_few(settings.seeds)}, and intervals say nothing of other data."
        " StyleFlow is its flow and its loss; its authors' editing also puts back all styles outside a range picked by"
        " hand for each attribute, which has no counterpart here. Networks judge, and what they cannot see is not in"
        " these numbers.",
        "## How to repeat it",
        "`make figures` tunes, trains, evaluates and writes this page and everything beside it; it continues where it"
        f" was stopped. {_hours(measured):.1f} hours of one processor core went into training and evaluating what"
        f" stands here{_not_counted(measured)}. All tables and figures: [tables.md](tables.md). All points:"
        f" [points.csv](points.csv), [areas.csv](areas.csv). All trials: [{TABLE}]({settings.trials_file})."
        " Only what stands under *Reading*, if anything, is by hand, from `reading.md`.",
    ]
    return "\n\n".join(blocks) + "\n"


def tables_page(
    study: Study,
    settings: Settings,
    measured: Measured,
    pictures: Sequence[str],
    attributes: Sequence[str],
) -> str:
    """All tables and figures, as Markdown; arguments as of `results_page`, and the edited attributes."""
    main = settings.judges[0]
    blocks = [
        "# All tables",
        "An edit drives an attribute to its opposite, harder and harder. *Accuracy* is the share of"
        " faces on which the judge sees the attribute turned, *identity* the cosine of the identity"
        " embeddings of the edited and the unedited reconstruction, *other attributes* the share of"
        " the judge's other decisions that stay. The area under a curve is the mean preservation over accuracies from"
        " 0 to 95%; an accuracy that a method does not reach counts 0, so that areas tell of reach above all."
        f" {HIGHEST:.0%} is the highest accuracy that is told, where strengths rise no further."
        f"{_how_decided(settings)}",
    ]
    for judges in settings.judges:
        areas = measured.areas[judges]
        of_ours = leads(areas, study.comparisons)
        blocks += [
            f"## {_heading(judges)}",
            f"Judged by {JUDGES.get(judges, judges)}{_of_fewer(settings, judges)}, on the first"
            f" {settings.faces_for(judges)} faces of the {settings.split} split, less those on which the judge and"
            " the training classifier disagree before any edit.",
            tables.area_table(study.methods, areas),
            f"{_listed([study.methods[x] for x in study.forms])} against the others, what is preserved at the highest"
            " accuracy that both reach."
            f" {tables.count_sentence(of_ours, _either(study))}",
            tables.lead_table(of_ours, study.methods),
        ]
    if study.ablation:
        blocks += [
            "## Ablation",
            f"Judged by {JUDGES.get(main, main)}.",
            tables.area_table(study.ablation, measured.areas[main]),
        ]
    if steps := _steps(study):
        found = leads(measured.areas[main], steps)
        blocks += [
            f"Each variant against the one before, and the last against the first."
            f" {tables.count_sentence(found, 'the variant with more losses')}",
            tables.lead_table(found, study.titles),
        ]
    if matrix := tables.entanglement_table(measured, study.titles):
        blocks += [
            "## Entanglement",
            "By how much each of the judge's probabilities moves in the direction of a single edit, on average:"
            " positive where it comes with the edited attribute. At the highest accuracy, up to 90%, that all methods"
            " reach. Above them the correlation with the edited attribute in the unedited faces.",
            matrix,
        ]
    if told := tables.independence_table(measured, study.titles, attributes):
        blocks += [
            "## Independence",
            "Whether a semantic variable is above one half, told by probes from the code z and from the latent w: area"
            " under the ROC curve with its interval, and balanced accuracy. One half is chance, for both.",
            told,
        ]
    if sampling := tables.sampling_table(study.titles, measured.summaries, main):
        blocks += [
            "## Sampling",
            f"New faces under {_combinations(attributes)} of the attributes: how often the judge finds what"
            " was asked, and the mean identity distance of two faces of one combination, beside"
            f" that of two different {settings.split} faces. Codes are drawn for each style apart"
            " (independent) or once for all styles of a face (shared).",
            sampling,
        ]
    if agreement := tables.agreement_table(study, measured.summaries):
        blocks += [
            "## Agreement of the judges",
            f"{study.methods[study.ours]}, first seed: the same faces shown to both sets of judges."
            " For each attribute the share of equal decisions and the correlation of the"
            " probabilities; for identity the correlation of the cosines.",
            agreement,
        ]
    blocks += ["## Figures", *map(_picture, pictures)]
    return "\n\n".join(blocks) + "\n"


def resampled_over(seeds: int) -> str:
    """What the bootstrap resamples."""
    return "faces and training seeds" if seeds > 1 else "faces (of the one training seed)"


def _of_fewer(settings: Settings, judges: str) -> str:
    """Which trainings a set of judges saw, if not all."""
    seen = settings.seeds_for(judges)
    if seen == settings.seeds:
        return ""
    if seen == 1:
        return " under the first training of each method, so that the brackets are over faces alone"
    return f" under the first {seen} trainings of each method"


def _percentiles(seeds: int) -> str:
    if seeds == 1:
        return (
            "the percentiles of a bootstrap, and say nothing of how another training would differ"
        )
    return (
        "the percentiles of a bootstrap, widened for what is not known of the spread among so few trainings"
        " (Behrens and Fisher)"
    )


def _combinations(attributes: Sequence[str]) -> str:
    count = len(combinations_of(len(attributes)))
    if count == 2 ** len(attributes):
        return "every combination"
    return f"{count} random combinations, each attribute on in half of them,"


def _times(seeds: int) -> str:
    return "once" if seeds == 1 else f"{seeds} times"


def _few(seeds: int) -> str:
    if seeds == 1:
        return "one training a method tells nothing of how another would differ"
    return (
        f"{seeds} trainings a method are few (Student's t, which allows for that, takes them to differ as a normal"
        " distribution does)"
    )


def _steps(study: Study) -> list[tuple[str, str]]:
    """Each variant of the ablation with the one before it; of several, the last with the first as well."""
    variants = list(study.ablation)
    steps = list(zip(variants[1:], variants, strict=False))
    return [*steps, (variants[-1], variants[0])] if len(steps) > 1 else steps


def _care(study: Study, settings: Settings) -> str:
    """How settings were found, and for whom."""
    variants = {x: f"the variant {title}" for x, title in study.ablation.items()}
    names = {**study.methods, **{x: y for x, y in variants.items() if x not in study.methods}}
    paper = [x for x in names if x not in VARIANT_SEARCHES]
    tuned = [names[x] for x in paper if x in settings.chosen]
    untuned = [names[x] for x in paper if x not in settings.chosen]
    sentences = []
    if tuned:
        who = _listed(tuned) if untuned else "every method and variant of the paper"
        sentences.append(
            f"Before that {who} had the same number of trials, each over its own settings, chosen by one rule on"
            f" validation faces ([all trials]({settings.trials_file}))."
        )
        if untuned:
            sentences.append(
                f"With no finished search, these have the settings of their configs: {_listed(untuned)}."
            )
    else:
        sentences.append("All methods have the settings of their configs, with no search before.")
    for name in study.methods:
        if name in VARIANT_SEARCHES:
            own = len(VARIANT_SEARCHES[name].trials)
            sentences.append(
                f"*{study.titles[name]}* goes beyond the paper and had {own} trial{'s'[: own > 1]} instead of"
                f" {NUM_TRIALS}; it is here because no form of SDFlow had a higher score in them."
            )
    if settings.chosen:
        sentences.append("The trainings compared have other seeds than the trials.")
        if "attributes" in settings.overrides:
            sentences.append(
                "The trials edited the attributes of the configs, and not all of these."
            )
    return " ".join(sentences)


def _either(study: Study) -> str:
    """The forms of SDFlow that are compared, as a subject."""
    first, *others = [study.methods[form] for form in study.forms]
    return f"{first}, or {others[0]}," if others else first


def _listed(words: Sequence[str]) -> str:
    """Words as in a sentence."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _how_decided(settings: Settings) -> str:
    return f" {tables.HOW_DECIDED}" if settings.seeds > 1 else ""


def _levels_in_words(study: Study, areas: Areas) -> str:
    """Of each edit, or of each kind of edit where there are many."""
    levels = levels_of(areas, list(study.methods))
    told = []
    for kind, requests in kinds_of(areas).items():
        found = {request: levels[request] for request in requests if request in levels}
        if 1 < len(found) <= _FEW:
            told += [f"{level:.0%} for {readable(request)}" for request, level in found.items()]
        elif found:
            low, high = min(found.values()), max(found.values())
            told.append(f"{low:.0%}{f' to {high:.0%}' if high > low else ''} for {kind}")
    return ", ".join(told) or "none: no edit reaches any"


def _strangers(measured: Measured, judges: str) -> str:
    found = strangers_of(measured.summaries, judges)
    if found is None:
        return ""
    return f" Two different faces are at an identity of {found:.3f} on average."


def _range(measured: Measured) -> str:
    """Of the accuracies at which edits are looked at for what comes along."""
    levels = next(iter(measured.entanglement.values())).levels
    low, high = min(levels), max(levels)
    return f"{low:.0%}" if low == high else f"{low:.0%} to {high:.0%}"


def _not_counted(measured: Measured) -> str:
    """What the hours leave out."""
    if not measured.num_untimed:
        return "; trials and pictures are not counted"
    trainings = "training" if measured.num_untimed == 1 else "trainings"
    return f"; trials, pictures and {measured.num_untimed} {trainings} on another machine are not counted"


def _all_leads(judges: str) -> str:
    return f" [Each of them](tables.md#{_heading(judges).lower().replace(' ', '-')})."


def _heading(judges: str) -> str:
    return f"Methods by {judges} judges"


def _devices(measured: Measured) -> str:
    names = dict.fromkeys(cost.device for cost in measured.costs.values())
    return "on " + " or ".join({"cpu": "processor cores"}.get(name, name) for name in names)


def _hours(measured: Measured) -> float:
    return sum(measured.core_seconds.values()) / 3600


def _picture(name: str) -> str:
    return f"![{name.partition('.')[0]}]({name})"
