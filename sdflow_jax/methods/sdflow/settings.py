"""What SDFlow reads of a config: flow, semantic encoder, solver, losses and training."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from sdflow_jax.files import networks
from sdflow_jax.files.config_groups import Group
from sdflow_jax.flow.solve import SolverSettings
from sdflow_jax.losses import MATCHING, TERMS, LossSettings
from sdflow_jax.models.attribute_classifier import AttributeClassifier
from sdflow_jax.models.resnet import LAYOUTS
from sdflow_jax.training.settings import TrainingSettings, read_average_decay

# What a residual network is made of: arguments of `SemanticEncoder` and `AttributeClassifier`.
_BACKBONE = ("depth", "width", "stem_pool")


@dataclasses.dataclass(frozen=True)
class SDFlowSettings:
    """How SDFlow is trained.

    Attributes:
      training: schedule and update rule.
      average_decay: of the moving average of the weights, in [0, 1); 0 keeps none.
      backbone_rate: share of the learning rate for the semantic encoder's residual network; 0
        keeps its weights, and its batch norms still follow the faces.
      flow: constructor arguments of the `ConditionalFlow`, but for its sizes that follow from the
        data, and its solver.
      solver: how its differential equation is solved.
      semantic_encoder: constructor arguments of the `SemanticEncoder`; None where the frozen
        classifier gives the semantic variables.
      initial_backbone: network file of an attribute classifier from whose residual network the
        semantic encoder's starts; empty for random weights.
      weights: of the losses that count.
      losses: what they compute.
    """

    training: TrainingSettings
    average_decay: float
    backbone_rate: float
    flow: Mapping[str, Any]
    solver: SolverSettings
    semantic_encoder: Mapping[str, Any] | None
    initial_backbone: str
    weights: Mapping[str, float]
    losses: LossSettings

    @classmethod
    def read(cls, config: Group) -> "SDFlowSettings":
        """Read all that SDFlow needs of a config."""
        source = config.choice("semantic_variables", ("encoder", "classifier"))
        encoder, backbone = None, ""
        if source == "encoder":
            encoder = _read_encoder(config.group("semantic_encoder"))
            if "initial_backbone" in config:  # which runs that are older than the key lack
                backbone = config.text("initial_backbone")
            _check_backbone(config, backbone, encoder)
        weights, losses = _read_losses(config, source or "encoder")
        _check_resolution(config, losses)
        optimizer = config.group("optimizer")
        return cls(
            training=TrainingSettings.read(config),
            average_decay=read_average_decay(optimizer),
            backbone_rate=optimizer.number(
                "backbone_rate",
                least=0,
                expected="at least 0 (0 keeps the weights of the encoder's residual network)",
            ),
            flow=_read_flow(config.group("flow")),
            solver=_read_solver(config.group("solver")),
            semantic_encoder=encoder,
            initial_backbone=backbone,
            weights=weights,
            losses=losses,
        )


def _read_flow(group: Group) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "hidden_sizes": list(group.wholes("hidden_sizes")),
        "num_blocks": group.whole("num_blocks", least=1),
    }
    if "end_time" in group:
        arguments["end_time"] = group.number("end_time", above=0, expected="above 0")
    if "learn_end_time" in group:
        arguments["learn_end_time"] = group.flag("learn_end_time")
    group.complain_of_unread()
    return arguments


def _read_solver(group: Group) -> SolverSettings | None:
    try:
        return SolverSettings.create(group.values())
    except ValueError as error:
        group.complaints.append(f"{group.name}: {error}")
        return None


def _read_encoder(group: Group) -> dict[str, Any]:
    arguments = {
        "depth": group.choice("depth", LAYOUTS),
        "width": group.whole("width", least=1),
        "stem_pool": group.flag("stem_pool"),
        "hidden_sizes": list(group.wholes("hidden_sizes")),
    }
    group.complain_of_unread()
    return arguments


def _check_backbone(config: Group, path: str, encoder: Mapping[str, Any]) -> None:
    """Whether the semantic encoder can start from the residual network that it is told to."""
    if not path:
        return
    try:
        metadata = networks.read_metadata(path)
    except networks.NetworkFileError as error:
        config.complaints.append(f"{config.name}.initial_backbone: {error}")
        return
    if metadata["network"] != "AttributeClassifier":
        config.complaints.append(
            f"{config.name}.initial_backbone: expected an AttributeClassifier,"
            f" {path} holds a {metadata['network']}"
        )
        return
    defaults = inspect.signature(AttributeClassifier.__init__).parameters
    for key in _BACKBONE:
        found = metadata["arguments"].get(key, defaults[key].default)
        if encoder[key] not in (None, found):  # what is None has its complaint already
            config.complaints.append(
                f"{config.name}.semantic_encoder.{key} must be {found!r}, as in"
                f" config.initial_backbone ({path}), got {encoder[key]!r}"
            )


def _read_losses(config: Group, source: str) -> tuple[dict[str, float], LossSettings | None]:
    """Weights of the terms that count, and what the losses compute."""
    group = config.group("losses")
    weights = {
        name: group.number(name, least=0, expected="a weight of at least 0") for name in TERMS
    }
    if MATCHING in group:
        weights[MATCHING] = group.number(MATCHING, least=0, expected="a weight of at least 0")
        if weights[MATCHING] and config.group("flow").whole("num_blocks", least=1) != 1:
            group.complain(
                MATCHING, "0 unless flow.num_blocks is 1: paths through more are not straight"
            )
    active = {name: weight for name, weight in weights.items() if weight}
    if not active and None not in weights.values():
        group.complaints.append(
            f"one of {group.name}.{', '.join(TERMS)} must be above 0, all are 0"
        )
    resample, noise = (group.anything(name) for name in ("resample", "noise"))
    resolution = group.whole("image_resolution", least=0, note=" (0: whole faces)")
    dtype = config.group("training").choice("generator_dtype", ("float32", "bfloat16"))
    group.complain_of_unread()
    if None in (resample, noise, resolution, dtype) or not active:
        return active, None
    try:
        return active, LossSettings(
            terms=tuple(active),
            semantic_variables=source,
            generator_dtype=dtype,
            image_resolution=resolution,
            resample=resample,
            noise=noise,
        )
    except ValueError as error:
        group.complaints.append(f"{group.name}: {error}")
        return active, None


def _check_resolution(config: Group, losses: LossSettings | None) -> None:
    """Whether the generator can stop where it is told to."""
    if losses is None or not losses.image_resolution:
        return
    try:
        metadata = networks.read_metadata(config.group("networks").text("generator"))
        generator = networks.build_abstract(metadata["network"], metadata["arguments"])
    except networks.NetworkFileError:
        return  # which config.networks complains of
    known = getattr(generator, "resolutions", ())
    if losses.image_resolution not in known:
        config.complaints.append(
            f"{config.name}.losses.image_resolution must be 0 or one of the generator's resolutions"
            f" ({', '.join(map(str, known))}), got {losses.image_resolution}"
        )
