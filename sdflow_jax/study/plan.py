"""What is trained and compared, and where each run lies."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from sdflow_jax.evaluation import STRENGTHS, EvaluationSettings
from sdflow_jax.files import networks
from sdflow_jax.files.config_files import read_config
from sdflow_jax.files.roles import JUDGING_ROLES, TRAINING_ROLES
from sdflow_jax.files.run_config import to_json
from sdflow_jax.study.searches import VARIANT_SEARCHES
from sdflow_jax.study.trials_table import TABLE

ROOT = pathlib.Path(__file__).parent.parent.parent


@dataclasses.dataclass(frozen=True)
class Study:
    """The runs and the comparisons among them.

    Attributes:
      configs: method or variant of the ablation -> its config file, as for `--config`; relative paths start at the
        repository.
      methods: method -> its title, in the comparison of methods; the last is the one whose leads are told,
        SDFlow where it is among them.
      ablation: the same for the ablation; empty for none.
    """

    configs: Mapping[str, str]
    methods: Mapping[str, str]
    ablation: Mapping[str, str]

    @property
    def ours(self) -> str:
        """The method whose lead over the others is reported."""
        return list(self.methods)[-1]

    @property
    def forms(self) -> list[str]:
        """What is compared with all others: the method that the ablation ends in, and `ours`."""
        last = list(self.ablation)[-1:]
        return list(dict.fromkeys([*last, self.ours]))

    @property
    def comparisons(self) -> list[tuple[str, str]]:
        """(method, other), for each of `forms` with each other method, no two methods twice."""
        others = [name for name in self.methods if name not in self.forms]
        pairs = [(form, other) for form in self.forms for other in others]
        return [*pairs, *zip(self.forms[1:], self.forms, strict=False)]

    @property
    def titles(self) -> dict[str, str]:
        """A title for every method."""
        return {**self.ablation, **self.methods}


# The ablation's first variant is StyleFlow and its last is SDFlow: neither is trained twice.
PAPER = Study(
    configs={
        "interfacegan": "configs/baselines/interfacegan.py",
        "latent_transformer": "configs/baselines/latent_transformer.py",
        "styleflow": "configs/baselines/styleflow.py",
        "ablation-reg": "configs/ablation.py:reg",
        "ablation-mi": "configs/ablation.py:mi",
        "sdflow": "configs/pocket.py",
    },
    methods={
        "interfacegan": "InterFaceGAN",
        "latent_transformer": "Latent Transformer",
        "styleflow": "StyleFlow",
        "sdflow": "SDFlow",
    },
    ablation={
        "styleflow": "StyleFlow (nll)",
        "ablation-reg": "+ reg",
        "ablation-mi": "+ mi",
        "sdflow": "SDFlow (+ kd)",
    },
)


def among(study: Study, names: Sequence[str]) -> Study:
    """The study of some of its methods, in its own order; and of the ablation if its variants are all among them.

    Args:
      study: of more.
      names: of methods and variants.

    Raises:
      ValueError: for a name that is none of them, no method at all, or a variant without the whole ablation.
    """
    if unknown := [name for name in names if name not in study.configs]:
        raise ValueError(f"unknown: {', '.join(unknown)}; there is {', '.join(study.configs)}")
    methods = {name: title for name, title in study.methods.items() if name in names}
    if not methods:
        raise ValueError(f"at least one of {', '.join(study.methods)} must be compared")
    ablation = study.ablation if set(study.ablation) <= set(names) else {}
    if alone := [name for name in names if name not in {*methods, *ablation}]:
        raise ValueError(
            f"{', '.join(alone)} would be compared with nothing; the ablation is {', '.join(study.ablation)}"
        )
    configs = {name: file for name, file in study.configs.items() if name in names}
    return dataclasses.replace(study, configs=configs, methods=methods, ablation=ablation)


# Of every run. More test faces than the configs ask for, made once for all runs; and no pictures during
# training, at which nobody would look.
OVERRIDES = {"data.limits.test": 500, "training.sample_every": 0}

# The comparison's first. Tuning chose among trainings with seed 0: what was chosen had luck with that seed, which
# must not count in the comparison.
FIRST_SEED = 1


def with_best_form(study: Study, best: str | None) -> Study:
    """The study with a variant of SDFlow beside SDFlow, as the method whose leads are reported.

    Args:
      study: of the paper.
      best: a key of `VARIANT_SEARCHES`; for any other name, or None, the study stays as it is.
    """
    if best not in VARIANT_SEARCHES:
        return study
    search = VARIANT_SEARCHES[best]
    return dataclasses.replace(
        study,
        configs={**study.configs, best: search.config},
        methods={**study.methods, best: search.title},
    )


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much is computed.

    Attributes:
      seeds: trainings of each method, with the seeds `FIRST_SEED`, `FIRST_SEED` + 1, ...
      judges: sets of judges, as for `evaluate.py --judge`. The first judges every run; the others
        the methods compared, not the ablation's variants between them.
      split: the faces that are edited.
      num_faces: how many of them.
      seeds_external: how many of the trainings the external judges see, who run on the host and are slow. They see
        all where they are the first or only set.
      num_faces_external: how many faces.
      strengths: rising edit strengths. They go further than `evaluate.py` by default, so that a
        method that moves in smaller steps is not cut short.
      pairs: whether every two attributes are edited together, too.
      batch_size: faces per compiled call. On a CPU few are faster: what a generator computes of two faces
        stays in a core's cache. A GPU wants more.
      num_samples: new faces for each combination of attributes.
      num_shown: faces in the figures of faces.
      num_resamples: of the bootstrap.
      overrides: config values, dotted key -> value, for those configs that have the key.
      chosen: method -> config values, by which it differs from its config file; `overrides` come
        after them.
      trials_file: where the pages say that this was found.
    """

    seeds: int = 3
    judges: tuple[str, ...] = ("config", "external")
    split: str = "test"
    num_faces: int = 500
    seeds_external: int = 1
    num_faces_external: int = 50
    strengths: tuple[float, ...] = (*STRENGTHS, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0)
    pairs: bool = False
    batch_size: int = 2
    num_samples: int = EvaluationSettings.num_samples
    num_shown: int = 6
    num_resamples: int = 2000
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=lambda: dict(OVERRIDES))
    chosen: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    trials_file: str = TABLE

    def seeds_for(self, judge: str) -> int:
        """How many trainings of a method a set of judges sees; the first set sees all."""
        is_first = judge == self.judges[0]
        return self.seeds if is_first else min(self.seeds, self.seeds_external)

    def faces_for(self, judge: str) -> int:
        """How many faces a set of judges sees."""
        return (
            min(self.num_faces, self.num_faces_external) if judge == "external" else self.num_faces
        )


# The same code in little time: for looking at the machinery, not at the numbers.
TINY = Settings(
    seeds=1,
    judges=("config",),
    num_faces=32,
    strengths=(0.0, 0.5, 1.0, 1.5),
    pairs=True,
    batch_size=16,
    num_samples=4,
    num_shown=3,
    num_resamples=50,
    overrides={
        "training.num_steps": 6,
        "training.log_every": 2,
        "training.sample_every": 0,
        "latent_classifier.num_steps": 6,
        "data.limits.train": 128,
        "data.limits.validation": 8,
        "data.limits.test": 32,
    },
)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
      method: its name.
      seed: of weights, batches and all randomness.
      config_flag: for `--config`.
      overrides: config values of this run, as for the command line.
      workdir: its directory.
      judges: the sets of judges that see it.
      judge_files: role -> network file, of the judges that the config names.
    """

    method: str
    seed: int
    config_flag: str
    overrides: Mapping[str, Any]
    workdir: pathlib.Path
    judges: tuple[str, ...]
    judge_files: Mapping[str, str]


def plan_runs(study: Study, settings: Settings, directory: pathlib.Path) -> list[Run]:
    """Every run of a study, seed by seed, so that a first answer on all methods comes early.

    A working directory is named for everything that decides the training (config, network files),
    so that a changed config or changed weights begin a new run instead of continuing an old one.
    """
    runs = []
    for seed in range(FIRST_SEED, FIRST_SEED + settings.seeds):
        for method, file in study.configs.items():
            judges = tuple(
                judge
                for judge in settings.judges
                if judge == settings.judges[0] or method in study.methods
                if seed < FIRST_SEED + settings.seeds_for(judge)
            )
            overrides = {**settings.chosen.get(method, {}), **settings.overrides}
            runs.append(plan_run(method, file, seed, overrides, judges, directory))
    return runs


def plan_run(
    method: str,
    file: str,
    seed: int,
    overrides: Mapping[str, Any],
    judges: tuple[str, ...],
    directory: pathlib.Path,
) -> Run:
    """One training.

    Args:
      method: its name.
      file: its config, as in `Study.configs`.
      seed: of all randomness.
      overrides: config values, dotted key -> value; what the config has not is left out.
      judges: the sets of judges that see it.
      directory: of all runs.
    """
    config = read_config(_located(file))
    fitting = {key: x for key, x in overrides.items() if has_key(config, key)}
    overrides = {**fitting, "seed": seed, "data.directory": str(directory / "data")}
    config.update_from_flattened_dict(overrides)
    workdir = directory / f"{method}-seed{seed}-{_digest(config)}"
    judge_files = {role: config.networks[role] for role in JUDGING_ROLES}
    return Run(method, seed, str(_located(file)), overrides, workdir, judges, judge_files)


def _located(file: str) -> pathlib.Path:
    return ROOT / file  # an absolute path stays itself


def has_key(config: ml_collections.ConfigDict, key: str) -> bool:
    """Whether a config has a dotted key."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping | ml_collections.ConfigDict) or part not in node:
            return False
        node = node[part]
    return True


def _digest(config: ml_collections.ConfigDict) -> str:
    plain = to_json(config)
    del plain["data"]["directory"]  # only a place
    files = [plain["networks"].get(role) for role in TRAINING_ROLES]
    for role in JUDGING_ROLES:  # an evaluation notes its judges itself
        plain["networks"].pop(role, None)
    files.append(plain.get("initial_backbone"))
    if seeds := plain["data"]["seed_list"]:
        files.append(networks.resolve(seeds, suffix=".npy"))
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for path in filter(None, files):
        digest.update(networks.digest(path).encode())
    return digest.hexdigest()[:10]
