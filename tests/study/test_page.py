import dataclasses

import numpy as np
import pytest

from sdflow_jax.study.areas import LEVELS, Estimate, Resampled
from sdflow_jax.study.entanglement import Entanglement
from sdflow_jax.study.measured import Cost, Measured
from sdflow_jax.study.page import results_page, tables_page
from sdflow_jax.study.plan import Settings, Study, among

STUDY = Study(
    configs={"a": "", "b": "", "ours": ""},
    methods={"a": "Method A", "b": "Method B", "ours": "Ours"},
    ablation={"ours": "all losses"},
)


def resampled(area, spread=0.01, reach=0.97):
    # All of the spread is of trainings.
    draws = np.stack([area + spread * np.linspace(-1, 1, 101), np.full(101, area)])
    curves = np.broadcast_to(draws[..., None], (2, 101, len(LEVELS)))
    curve = np.full(len(LEVELS), area)
    return Resampled(88, 3, curve, curves, area, draws, reach, reach + 0 * draws)


def pages(areas, summaries=None, *, seeds=3, **measured):
    empty = {(name, "config"): [{}] for name in STUDY.configs}
    settings = Settings(seeds=seeds, judges=("config",))
    found = Measured({"config": areas}, summaries or empty, **measured)
    pictures = ["figure4_methods.png", "figure3_Young.jpg", "figure3_all.jpg"]
    page = results_page(STUDY, settings, found, pictures, "What I make of it.")
    return page, tables_page(STUDY, settings, found, pictures, ["Young"])


def test_lead_is_told_by_its_interval():
    page, tables = pages(
        {
            ("a", "Young", "identity"): resampled(0.7),
            ("b", "Young", "identity"): resampled(0.9),
            # What trainings differ by must not cancel.
            ("ours", "Young", "identity"): resampled(0.8, spread=-0.01),
            ("a", "Male", "identity"): resampled(0.8, spread=0.3),
            ("ours", "Male", "identity"): resampled(0.81),
        },
        core_seconds={"x": 7200.0},
    )
    lines = tables.splitlines()
    reach = "+0.000 [+0.000, +0.000]"
    young = "| Young | Ours | Method {} | {} | 95% | {} {} | – |"
    assert young.format("A", reach, "+0.100 [+0.073, +0.127]", "▲") in lines
    assert young.format("B", reach, "-0.100 [-0.127, -0.073]", "▼") in lines
    (undecided,) = [line for line in lines if line.startswith("| Male | Ours | Method A | +")]
    assert "▲" not in undecided and "▼" not in undecided
    for text in (page, tables):
        assert "Of 6 comparisons Ours is ahead in 1 (▲) and behind in 1 (▼)" in text
    assert "2.0 hours of one processor core" in page
    assert "![figure4_methods](figure4_methods.png)" in page and "figure3_Young" not in page
    assert "![figure3_all](figure3_all.jpg)" in page
    assert "![figure3_Young](figure3_Young.jpg)" in tables
    assert "## Reading\n\nWhat I make of it.\n" in page
    # 0.8 -+ 0.0095 by percentiles, 4.30 / 1.96 times that by Student's t of three trainings.
    assert "| Young | Ours | 0.800 [0.779, 0.821]" in tables and "| 97.0% | 88 |" in tables


def test_intervals_are_told_for_what_they_are():
    areas = {(name, "Young", "identity"): resampled(0.8) for name in STUDY.methods}
    page, _ = pages(areas)
    assert "was trained 3 times; brackets are 95% intervals over faces and training seeds" in page
    assert (
        "so few trainings (Behrens and Fisher)" in page and "3 trainings a method are few" in page
    )
    alone = {key: dataclasses.replace(x, num_seeds=1) for key, x in areas.items()}
    page, _ = pages(alone, seeds=1)
    assert "was trained once; brackets are 95% intervals over faces (of the one training" in page
    assert "comparisons is decided" in page and "widened" not in page


def test_same_care_is_told_only_of_methods_that_had_it():
    areas = {(name, "Young", "identity"): resampled(0.8) for name in STUDY.methods}
    with_form = dataclasses.replace(
        STUDY,
        configs={**STUDY.configs, "sdflow-long": ""},
        methods={**STUDY.methods, "sdflow-long": "SDFlow, trained longer"},
    )

    def care(study, *chosen):
        settings = Settings(judges=("config",), chosen={name: {} for name in chosen})
        summaries = {(name, "config"): [{}] for name in study.configs}
        return results_page(study, settings, Measured({"config": areas}, summaries), [])

    assert "no search before" in care(STUDY) and "number of trials" not in care(STUDY)
    every = care(STUDY, *STUDY.configs)
    assert "every method and variant of the paper had the same number of trials" in every
    assert "no search before" not in every and "goes beyond" not in every
    some = care(STUDY, "a", "ours")
    assert "every method and variant" not in some
    assert "Before that Method A and Ours had the same number of trials" in some
    assert "these have the settings of their configs: Method B." in some
    form = care(with_form, *with_form.configs)
    assert "every method and variant of the paper had the same number" in form
    assert "*SDFlow, trained longer* goes beyond the paper and had 1 trial instead of 6" in form


def test_overview_shows_kinds_of_edits_at_the_accuracy_that_all_reach():
    areas = {
        (method, request, "identity"): resampled(area)
        for method, areas in {"a": (0.5, 0.7, 0.9), "ours": (0.6, 0.8, 0.4)}.items()
        for request, area in zip(("Male", "Young", "Male+Young"), areas, strict=True)
    }
    page, _ = pages(areas, costs={"a": Cost(90.0, 1.25, "cpu"), "ours": Cost(None, None, "cpu")})
    lines = page.splitlines()
    (single,) = [line for line in lines if line.startswith("| one attribute | Method A |")]
    assert single.startswith("| one attribute | Method A | 97.0% [97.0%, 97.0%] | 0.600 [0.579")
    assert single.endswith("| – | 90 | 1.25 |")
    (joint,) = [line for line in lines if line.startswith("| both at once | Ours |")]
    assert "| 0.400 [0.379" in joint and joint.endswith("| – | – | – |")
    assert "Equal accuracy is here 95% for male, 95% for young, 95% for both at once." in page


def test_a_study_without_an_ablation_says_nothing_of_one():
    areas = {(name, "Young", "identity"): resampled(0.8) for name in STUDY.methods}
    more = dataclasses.replace(
        STUDY,
        configs={**STUDY.configs, "variant": ""},
        ablation={"variant": "+ a loss", "ours": ""},
    )
    assert among(more, list(more.configs)) == more
    study = among(more, ["ours", "a", "b"])
    assert study == dataclasses.replace(STUDY, ablation={})
    assert list(among(more, ["b"]).methods) == ["b"]
    for names, message in (
        (["a", "c"], "unknown: c"),
        (["variant"], "at least one of a, b, ours"),
        (["a", "variant"], "variant would be compared with nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            among(more, names)
    found = Measured({"config": areas}, {(name, "config"): [{}] for name in study.configs})
    settings = Settings(judges=("config",))
    page, tables = (
        write(study, settings, found, [], *rest)
        for write, rest in ((results_page, []), (tables_page, [["Young"]]))
    )
    assert "each loss" not in page and "blation" not in page + tables and "variant" not in page


def test_a_method_that_gets_nowhere_keeps_the_others_comparable():
    def reaching(reach):
        found = resampled(0.8, reach=reach)
        is_missed = reach < LEVELS
        return dataclasses.replace(
            found,
            curve=np.where(is_missed, np.nan, found.curve),
            curves=np.where(is_missed, np.nan, found.curves),
        )

    areas = {
        (method, request, "identity"): reaching(reach if "+" in request else 0.97)
        for method, reach in {"a": 0.3, "b": 0.6, "ours": 0.9}.items()
        for request in ("Male", "Young", "Male+Young")
    }
    page, _ = pages(areas)
    assert "95% for male, 95% for young, 60% for both at once" in page
    rows = {line.split(" | ")[1]: line for line in page.splitlines() if "| both at once |" in line}
    assert rows["Method A"].startswith("| both at once | Method A | 30.0% [30.0%, 30.0%] | – |")
    assert "| 0.800 [" in rows["Method B"] and "| 0.800 [" in rows["Ours"]


def test_many_edits_have_the_range_of_their_accuracies():
    names = [f"Attribute_{i}" for i in range(6)]
    page, _ = pages({("ours", name, "identity"): resampled(0.8) for name in names})
    assert "Equal accuracy is here 95% for one attribute." in page


def test_what_the_hours_leave_out_is_said():
    areas = {("ours", "Young", "identity"): resampled(0.8)}
    page, _ = pages(areas, num_untimed=2)
    assert "trials, pictures and 2 trainings on another machine are not counted" in page
    page, _ = pages(areas)
    assert "; trials and pictures are not counted" in page


def test_probes_and_what_comes_along_are_told():
    areas = {(name, "Young", "identity"): resampled(0.8) for name in ("a", "b", "ours")}
    half = Estimate(0.5, 0.45, 0.55)
    moves = np.array([[0.1, 0.9]])
    found = Entanglement(("Young",), ("Male", "Young"), np.array([0.9]), moves, half, half)
    page, tables = pages(
        areas,
        entanglement={"ours": found},
        correlation=np.array([[-0.3, 1.0]]),
        independence={
            ("ours", "z", "linear"): {"area": [half], "accuracy": [half], "mean area": [half]}
        },
    )
    assert "| Ours | 0.50 [0.45, 0.55] | – | – | – |" in page
    assert "| Ours | z, linear | 0.50 [0.45, 0.55]; 50% |" in tables
    assert "| Ours | 0.500 [0.450, 0.550] | 0.500 [0.450, 0.550] |" in page
    assert "| Young | in the data |  | -0.30 | +1.00 |" in tables
    assert "| Young | Ours | 90% | +0.10 | +0.90 |" in tables


def test_sampling_and_agreement_appear_with_their_numbers():
    kind = {"accuracy": {"Young": 0.75}, "diversity": 0.5, "diversity_of_faces": 0.6}
    agreement = {
        "unedited": {
            "num_faces": 10,
            "identity_correlation": 0.5,
            "Young": {"same_decision": 0.9, "correlation": None},
        },
        "Male": {
            "num_faces": 0,
            "identity_correlation": None,
            "Young": {"same_decision": None, "correlation": None},
        },
    }
    summaries = {(name, "config"): [{}] for name in STUDY.configs}
    summaries["ours", "config"] = [
        {"sampling": {"shared": kind}},
        {"sampling": {"shared": {**kind, "accuracy": {"Young": 0.85}}}},
    ]
    summaries["ours", "external"] = [{"num_faces": 10, "agreement": agreement}]
    page, text = pages({("ours", "Young", "identity"): resampled(0.8)}, summaries)
    assert "| Ours | shared | 80.0% | 0.500 | 0.600 |" in text
    assert "under every combination of the attributes" in text
    assert "Two different faces are at an identity of 0.400 on average." in page
    assert "| faces | identity | Young |" in text
    assert "| unedited | 0.50 | 90.0%, – |" in text
    assert "(0 of 10) | – | –, – |" in text  # no edit could be computed
