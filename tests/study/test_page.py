import numpy as np

from sdflow_jax.study.areas import LEVELS, Resampled
from sdflow_jax.study.page import results_page
from sdflow_jax.study.plan import Settings, Study

STUDY = Study(
    configs={"a": "", "b": "", "ours": ""},
    methods={"a": "Method A", "b": "Method B", "ours": "Ours"},
    ablation={"ours": "all losses"},
)


def resampled(area, spread=0.01, reach=0.97):
    draws = area + spread * np.linspace(-1, 1, 101)
    curves = np.broadcast_to(draws[:, None], (101, len(LEVELS)))
    return Resampled(88, np.full(len(LEVELS), area), curves, area, draws, reach, reach + 0 * draws)


def page(areas, summaries=None):
    empty = {(name, "config"): [{}] for name in STUDY.configs}
    settings = Settings(seeds=3, judges=("config",))
    return results_page(
        STUDY,
        settings,
        {"config": areas},
        summaries or empty,
        ["figure4_methods.png"],
        {"x": 7200.0},
    )


def test_lead_is_told_by_its_interval():
    text = page(
        {
            ("a", "Young", "identity"): resampled(0.7),
            ("b", "Young", "identity"): resampled(0.9),
            ("ours", "Young", "identity"): resampled(0.8),
            ("a", "Male", "identity"): resampled(0.8, spread=0.3),
            ("ours", "Male", "identity"): resampled(0.81),
        }
    )
    lines = text.splitlines()
    assert "| Young | Method A | +0.000 [+0.000, +0.000] | +0.100 [+0.100, +0.100] ▲ | – |" in lines
    assert "| Young | Method B | +0.000 [+0.000, +0.000] | -0.100 [-0.100, -0.100] ▼ | – |" in lines
    (undecided,) = [line for line in lines if line.startswith("| Male | Method A | +")]
    assert "▲" not in undecided and "▼" not in undecided
    assert "Of these 6 comparisons Ours is ahead in 1 (▲) and behind in 1 (▼)" in text
    assert (
        "2.0 hours of one processor core" in text
        and "![figure4_methods](figure4_methods.png)" in text
    )
    assert "| Young | Ours | 0.800 [0.79" in text and "| 97.0% | 88 |" in text


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
    text = page({("ours", "Young", "identity"): resampled(0.8)}, summaries)
    assert "| Ours | shared | 80.0% | 0.500 | 0.600 |" in text
    assert "| faces | identity | Young |" in text
    assert "| unedited | 0.50 | 90.0%, – |" in text
    assert "(0 of 10) | – | –, – |" in text  # no edit could be computed
