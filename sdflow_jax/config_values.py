"""Which values a config may hold, by the method that it trains."""

from collections.abc import Mapping
from typing import Any

from sdflow_jax.flow.solve import SolverSettings
from sdflow_jax.losses import TERMS, LossSettings
from sdflow_jax.models.resnet import LAYOUTS

METHODS = ("sdflow", "interfacegan", "latent_transformer")

_TRANSFORMER_TERMS = ("classification", "attribute", "reconstruction")


def value_complaints(config: Mapping[str, Any]) -> list[str]:
    """One line for every value that cannot be meant."""
    found = _Complaints(config)
    found.require(
        len(config["attributes"]) > 0, "attributes", "a tuple of at least one attribute's name"
    )
    _check_data(found, config["data"])
    method = config.get("method", "sdflow")
    if method not in METHODS:
        found.lines.append(f"config.method must be one of {', '.join(METHODS)}, got {method!r}")
    precisions = ("default", "float32")
    found.require(
        config["training"]["matmul_precision"] in precisions,
        "training.matmul_precision",
        "'default' or 'float32'",
    )
    if method == "sdflow":
        _check_schedule(found, config)
        _check_sdflow(found, config)
    elif method == "latent_transformer":
        _check_schedule(found, config)
        _check_latent_transformer(found, config)
    elif method == "interfacegan":
        _check_interfacegan(found, config["interfacegan"])
    return found.lines


class _Complaints:
    def __init__(self, config: Mapping[str, Any]):
        self.lines: list[str] = []
        self._config = config

    def require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            group, _, key = name.partition(".")
            value = self._config[group][key] if key else self._config[group]
            self.lines.append(f"config.{name} must be {expected}, got {value!r}")


def _check_data(found: _Complaints, data: Mapping[str, Any]) -> None:
    found.require(data["source"] in ("pocket", "folder"), "data.source", "'pocket' or 'folder'")
    if data["source"] == "folder":
        found.require(bool(data["folder"]), "data.folder", "the directory of the face images")
        found.require(
            "train" in data["splits"], "data.splits", "a mapping that has the split train"
        )
    for name in ("annotation_batch_size", "num_threads", "prefetch"):
        found.require(data[name] >= 1, f"data.{name}", "at least 1")


def _check_schedule(found: _Complaints, config: Mapping[str, Any]) -> None:
    """What every method needs that trains by steps of gradient descent."""
    optimizer, training = config["optimizer"], config["training"]
    found.require(optimizer["learning_rate"] > 0, "optimizer.learning_rate", "above 0")
    found.require(
        optimizer["backbone_rate"] >= 0,
        "optimizer.backbone_rate",
        "at least 0 (0 freezes the encoder's residual network)",
    )
    found.require(
        optimizer["schedule"] in ("constant", "cosine"),
        "optimizer.schedule",
        "'constant' or 'cosine'",
    )
    found.require(optimizer["warmup_steps"] >= 0, "optimizer.warmup_steps", "at least 0")
    found.require(
        optimizer["gradient_clip"] >= 0, "optimizer.gradient_clip", "at least 0 (0 clips nothing)"
    )
    found.require(
        0 <= optimizer["ema_decay"] < 1, "optimizer.ema_decay", "in [0, 1) (0 averages nothing)"
    )
    least = max(optimizer["warmup_steps"] + 1, training["num_steps"])
    found.require(
        optimizer["schedule"] != "cosine" or optimizer["decay_steps"] >= least,
        "optimizer.decay_steps",
        f"at least {least}: the cosine begins after optimizer.warmup_steps and ends at a rate of 0,"
        " before which training.num_steps must be done",
    )
    for name in ("num_steps", "batch_size", "log_every", "checkpoint_every", "keep_checkpoints"):
        found.require(training[name] >= 1, f"training.{name}", "at least 1")
    found.require(
        training["sample_every"] >= 0, "training.sample_every", "at least 0 (0 draws none)"
    )


def _check_sdflow(found: _Complaints, config: Mapping[str, Any]) -> None:
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


def _check_sizes(found: _Complaints, config: Mapping[str, Any]) -> None:
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


def _check_latent_transformer(found: _Complaints, config: Mapping[str, Any]) -> None:
    for name in _TRANSFORMER_TERMS:
        found.require(
            config["latent_transformer"][name] >= 0,
            f"latent_transformer.{name}",
            "a weight of at least 0",
        )
    found.require(
        config["latent_transformer"]["classification"] > 0,
        "latent_transformer.classification",
        "above 0: nothing else asks for an edit",
    )
    found.require(
        config["latent_classifier"]["num_steps"] >= 1, "latent_classifier.num_steps", "at least 1"
    )


def _check_interfacegan(found: _Complaints, settings: Mapping[str, Any]) -> None:
    found.require(0 < settings["extremes"] <= 0.5, "interfacegan.extremes", "in (0, 0.5]")
    found.require(0 < settings["train_share"] < 1, "interfacegan.train_share", "in (0, 1)")
    found.require(settings["penalty"] > 0, "interfacegan.penalty", "above 0")
