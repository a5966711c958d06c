"""What SDFlow reads of a config: flow, semantic encoder, solver and losses."""

from collections.abc import Mapping
from typing import Any

from sdflow_jax.files import networks
from sdflow_jax.files.complaints import Complaints
from sdflow_jax.flow.solve import SolverSettings
from sdflow_jax.losses import TERMS, LossSettings
from sdflow_jax.models.resnet import LAYOUTS
from sdflow_jax.training.settings import check_training

# What a residual network is made of, and the defaults of `SemanticEncoder` and `AttributeClassifier`.
_BACKBONE = {"depth": 34, "width": 64, "stem_pool": True}


def check(config: Mapping[str, Any]) -> list[str]:
    """One line for every mistake in what SDFlow reads of a config."""
    found = Complaints(config)
    check_training(found, config)
    losses = config["losses"]
    for name in TERMS:
        found.require(losses[name] >= 0, f"losses.{name}", "a weight of at least 0")
    if all(losses[name] == 0 for name in TERMS):
        found.lines.append(f"one of config.losses.{', '.join(TERMS)} must be above 0, all are 0")
    found.require(
        config["training"]["generator_dtype"] in ("float32", "bfloat16"),
        "training.generator_dtype",
        "'float32' or 'bfloat16'",
    )
    _check_sizes(found, config)
    try:
        SolverSettings.create(config["solver"])
    except ValueError as error:
        found.lines.append(f"config.solver: {error}")
    settings = {name: value for name, value in losses.items() if name not in TERMS}
    active = tuple(name for name in TERMS if losses[name] > 0)
    try:
        LossSettings(
            terms=active or TERMS[:1],
            semantic_variables=config.get("semantic_variables", "encoder"),
            **settings,
        )
    except ValueError as error:
        found.lines.append(f"config.losses: {error}")
    return found.lines + _check_backbone(config)


def _check_sizes(found: Complaints, config: Mapping[str, Any]) -> None:
    flow, encoder = config["flow"], config["semantic_encoder"]
    for group, sizes in (("flow", flow), ("semantic_encoder", encoder)):
        found.require(
            all(isinstance(size, int) and size >= 1 for size in sizes["hidden_sizes"]),
            f"{group}.hidden_sizes",
            "a tuple of whole numbers above 0",
        )
    found.require(flow["num_blocks"] >= 1, "flow.num_blocks", "at least 1")
    found.require(
        encoder["depth"] in LAYOUTS,
        "semantic_encoder.depth",
        f"one of {', '.join(map(str, LAYOUTS))}",
    )
    found.require(encoder["width"] >= 1, "semantic_encoder.width", "at least 1")


def _check_backbone(config: Mapping[str, Any]) -> list[str]:
    """Whether the semantic encoder can start from the residual network that it is told to."""
    path = config.get("initial_backbone", "")
    if not path or config.get("semantic_variables", "encoder") != "encoder":
        return []
    try:
        metadata = networks.read_metadata(path)
    except networks.NetworkFileError as error:
        return [f"config.initial_backbone: {error}"]
    if metadata["network"] != "AttributeClassifier":
        return [
            "config.initial_backbone: expected an AttributeClassifier,"
            f" {path} holds a {metadata['network']}"
        ]
    # Both classes have the same names and defaults for these.
    found = {key: metadata["arguments"].get(key, x) for key, x in _BACKBONE.items()}
    wanted = {key: config["semantic_encoder"].get(key, x) for key, x in _BACKBONE.items()}
    return [
        f"config.semantic_encoder.{key} must be {found[key]!r}, as in config.initial_backbone"
        f" ({path}), got {wanted[key]!r}"
        for key in _BACKBONE
        if found[key] != wanted[key]
    ]


def loss_settings(config: Mapping[str, Any]) -> tuple[dict[str, float], LossSettings]:
    """Weights of the terms that count, and what the losses compute."""
    losses = dict(config["losses"])
    weights = {name: losses.pop(name) for name in TERMS}
    active = {name: weight for name, weight in weights.items() if weight > 0}
    dtype = config["training"]["generator_dtype"]
    return active, LossSettings(
        terms=tuple(active),
        semantic_variables=config["semantic_variables"],
        generator_dtype=dtype,
        **losses,
    )
