"""The config of a classifier's training, read and checked before anything slow begins."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sdflow_jax.classifiers.augmentation import Augmentation
from sdflow_jax.data.labeled_settings import LabeledSettings
from sdflow_jax.files.config_groups import Group
from sdflow_jax.models.resnet import LAYOUTS
from sdflow_jax.training.loop import Schedule
from sdflow_jax.training.settings import OptimizerSettings, read_average_decay, read_schedule

# Roles of `config.networks` that a network trained here can play.
CLASSIFIER_ROLES = ("classifier", "evaluation_classifier")

# config.validation.choose_by -> the number that is greatest in the best network.
CHOICES = ("area", "accuracy")


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """How a classifier is trained, and on what.

    Attributes:
      role: what it is for, one of `CLASSIFIER_ROLES`, and the name of its network file.
      seed: of weights, batches and all randomness.
      attributes: names of the attributes it learns; none means all that are labeled.
      age_thresholds: ages in years, ascending, each a question "older than?"; none for no age network.
      data: the labeled pictures.
      network: constructor arguments of the `AttributeClassifier`, but for the numbers of its outputs.
      augmentation: random changes of the training pictures.
      balance: how far rare answers weigh more, in [0, 1]: the power of their frequency's inverse.
      validate_every: interval in steps at which the network is measured.
      choose_by: which number decides between the networks, one of `CHOICES`.
      schedule: how long training goes, and how often it logs and saves.
      batch_size: faces per step, over all devices.
      optimizer: the update rule.
      average_decay: of the moving average of the weights, in [0, 1); 0 keeps none.
      matmul_precision: of float32 products, "default" or "float32".
      compilation_cache: directory of compiled programs, as by `keep_compiled_programs`: "off" for
        none, empty for the user's.
      keys: dotted names of all that was read of the config, on which alone the run depends.
    """

    role: str
    seed: int
    attributes: tuple[str, ...]
    age_thresholds: tuple[float, ...]
    data: LabeledSettings
    network: Mapping[str, Any]
    augmentation: Augmentation
    balance: float
    validate_every: int
    choose_by: str
    schedule: Schedule
    batch_size: int
    optimizer: OptimizerSettings
    average_decay: float
    matmul_precision: str
    compilation_cache: str
    keys: frozenset[str]


def read_classifier_settings(config: Mapping[str, Any]) -> ClassifierSettings:
    """The settings of a classifier's training.

    Args:
      config: as by `to_json`.

    Raises:
      ConfigError: with one line for every mistake that was found.
    """
    whole = Group(config)
    training, validation, optimizer = (
        whole.group(name) for name in ("training", "validation", "optimizer")
    )
    schedule = read_schedule(training)
    settings = ClassifierSettings(
        role=whole.choice("role", CLASSIFIER_ROLES),
        seed=whole.whole("seed", least=0),
        attributes=_names(whole),
        age_thresholds=_thresholds(whole),
        data=LabeledSettings.read(whole.group("data")),
        network=_read_network(whole.group("network")),
        augmentation=Augmentation.read(whole.group("augmentation")),
        balance=whole.number("balance", least=0, most=1, expected="in [0, 1]"),
        validate_every=validation.whole("every", least=1),
        choose_by=validation.choice("choose_by", CHOICES),
        schedule=schedule,
        batch_size=training.whole("batch_size", least=1),
        optimizer=OptimizerSettings.read(optimizer, num_steps=schedule.num_steps),
        average_decay=read_average_decay(optimizer),
        matmul_precision=training.choice("matmul_precision", ("default", "float32")),
        compilation_cache=training.text("compilation_cache"),
        keys=frozenset(whole.paths),  # the last: by now all is read
    )
    if bool(settings.age_thresholds) != bool(settings.data.age_column):
        whole.complain(
            "age_thresholds",
            "given if and only if config.data.age_column names the labels' column of ages",
        )
    for group in (training, validation, optimizer, whole):
        group.complain_of_unread()
    whole.finish()
    return settings


def _names(config: Group) -> tuple[str, ...]:
    value = config.anything("attributes") or ()
    if isinstance(value, list | tuple) and all(isinstance(x, str) and x for x in value):
        return tuple(value)
    config.complain("attributes", "a tuple of names, or () for all that are labeled")
    return ()


def _thresholds(config: Group) -> tuple[float, ...]:
    value = config.anything("age_thresholds") or ()
    is_numbers = isinstance(value, list | tuple) and all(type(x) in (int, float) for x in value)
    if is_numbers and all(a < b for a, b in zip(value, value[1:], strict=False)):
        return tuple(value)
    config.complain("age_thresholds", "a tuple of ascending ages in years, or ()")
    return ()


def _read_network(group: Group) -> dict[str, Any]:
    arguments = {
        "depth": group.choice("depth", LAYOUTS),
        "width": group.whole("width", least=1),
        "stem_pool": group.flag("stem_pool"),
        "head_sizes": list(group.wholes("head_sizes")),
    }
    group.complain_of_unread()
    return arguments
