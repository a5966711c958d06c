"""Which settings of each method are tried before the comparison: names, ranges and count, written down
before the first trial.

Every method of the paper gets `NUM_TRIALS` trials. Trial 0 is its config as it stands, the others are drawn
from its ranges with a fixed seed: Latin hypercube draws (McKay, Beckman and Conover 1979), so that few trials
still cover each range from end to end. All trials of a flow have the same number of steps. What goes beyond the
paper is listed trial by trial, under names of its own.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NUM_TRIALS = 6
_SEED = 19


@dataclasses.dataclass(frozen=True)
class Between:
    """Numbers between two ends above 0, evenly in their logarithm, to two digits."""

    low: float
    high: float

    def at(self, share: float) -> float:
        """The number at a share of the way, in [0, 1)."""
        return float(f"{self.low * (self.high / self.low) ** share:.2g}")

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of these values, each equally often."""

    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """The value at a share of the way, in [0, 1)."""
        return self.values[int(share * len(self.values))]

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


@dataclasses.dataclass(frozen=True)
class Search:
    """The trials of one method: drawn from ranges, or listed.

    Attributes:
      config: its config file, as in `Study.configs`.
      ranges: dotted key of the config -> what it is drawn from.
      listed: the trials of a search that draws none: dotted key -> value.
      title: of a variant of SDFlow, for readers.
    """

    config: str
    ranges: Mapping[str, Between | OneOf] = dataclasses.field(default_factory=dict)
    listed: Sequence[Mapping[str, Any]] = ()
    title: str = ""

    @property
    def trials(self) -> tuple[Mapping[str, Any], ...]:
        """For each trial, by which config values it differs from the config file."""
        if not self.ranges:
            return tuple(self.listed)
        # The first key of all methods is drawn alike, and so on: equal ranges give equal draws.
        random = np.random.default_rng(_SEED)
        drawn = NUM_TRIALS - 1
        columns = {
            key: (random.permutation(drawn) + random.random(drawn)) / drawn for key in self.ranges
        }
        return (
            {},
            *(
                {key: values.at(columns[key][i]) for key, values in self.ranges.items()}
                for i in range(drawn)
            ),
        )


_RATE = {"optimizer.learning_rate": Between(5e-4, 3e-3)}
_REG = {"losses.reg": Between(0.1, 1.0)}
_MI = {"losses.mi": Between(0.5, 4.0)}

PAPER_SEARCHES = {
    "interfacegan": Search(
        "configs/baselines/interfacegan.py",
        {
            "interfacegan.penalty": Between(1e-3, 10.0),
            "interfacegan.extremes": Between(0.02, 0.5),
            "interfacegan.conditional": OneOf((True, False)),
        },
    ),
    "latent_transformer": Search(
        "configs/baselines/latent_transformer.py",
        {
            "optimizer.learning_rate": Between(2e-4, 3e-3),
            # Two of the three weights: under Adam only their ratios matter.
            "latent_transformer.attribute": Between(0.1, 10.0),
            "latent_transformer.reconstruction": Between(1.0, 30.0),
            "training.batch_size": OneOf((16, 32, 64)),
        },
    ),
    "styleflow": Search(
        "configs/baselines/styleflow.py",
        {
            **_RATE,
            "optimizer.gradient_clip": Between(0.3, 10.0),
            "optimizer.ema_decay": OneOf((0.0, 0.95)),
        },
    ),
    "ablation-reg": Search("configs/ablation.py:reg", {**_RATE, **_REG}),
    "ablation-mi": Search("configs/ablation.py:mi", {**_RATE, **_REG, **_MI}),
    "sdflow": Search("configs/pocket.py", {**_RATE, **_REG, **_MI, "losses.kd": Between(0.3, 3.0)}),
}


def _subset(mi: float, **others: Any) -> dict[str, Any]:
    return {"losses.resample": "subset", "losses.mi": mi, "losses.reg": 0.3, **others}


def _steps(count: int) -> dict[str, int]:
    return {"training.num_steps": count, "optimizer.decay_steps": count}


def _matching(weight: float, **others: Any) -> dict[str, Any]:
    return {"losses.flow_matching": weight, "losses.nll": 0.0, **others}


# What the paper does not do. A variant is compared as SDFlow's best form only if it has the highest score.
VARIANT_SEARCHES = {
    "sdflow-subset": Search(
        "configs/pocket.py",
        listed=(_subset(2.0), _subset(3.0)),
        title="SDFlow, joint edits trained",
    ),
    "sdflow-long": Search(
        "configs/pocket.py",
        listed=(_steps(1000),),
        title="SDFlow, trained longer",
    ),
    "sdflow-batch": Search(
        "configs/pocket.py",
        listed=({"training.batch_size": 32},),
        title="SDFlow, larger batches",
    ),
    "sdflow-matching": Search(
        "configs/pocket.py",
        listed=(_matching(1.0), _matching(1.0, **_steps(1000))),
        title="SDFlow by flow matching",
    ),
}

SEARCHES = {**PAPER_SEARCHES, **VARIANT_SEARCHES}


def plan_lines(searches: Mapping[str, Search]) -> list[tuple[str, str, str]]:
    """The plan for a reader: method, number of trials, and ranges or trials."""
    lines = []
    for method, search in searches.items():
        told = [f"`{key}`: {values}" for key, values in search.ranges.items()] or [
            ", ".join(f"`{key}` = {x}" for key, x in trial.items()) for trial in search.listed
        ]
        lines.append((method, str(len(search.trials)), "; ".join(told)))
    return lines
