"""The networks that SDFlow trains, and the rule by which they are updated."""

from collections.abc import Mapping
from typing import Any

import jax
import optax
from flax import nnx
from numpy.typing import NDArray

from sdflow_jax.files import networks
from sdflow_jax.flow.conditional_flow import ConditionalFlow
from sdflow_jax.methods.sdflow.settings import SDFlowSettings
from sdflow_jax.models.semantic_encoder import SemanticEncoder
from sdflow_jax.training.optimizer import build_optimizer
from sdflow_jax.training.settings import OptimizerSettings


class TrainedNetworks(nnx.Module):
    """The networks that SDFlow trains together.

    Args:
      flow: the conditional flow.
      semantic_encoder: reads semantic variables; None where the frozen classifier does, which is
        no part of the training state.
    """

    def __init__(self, flow: ConditionalFlow, semantic_encoder: nnx.Module | None):
        self.flow = flow
        self.semantic_encoder = semantic_encoder


def network_arguments(
    settings: SDFlowSettings, *, num_attributes: int, style_dim: int
) -> dict[str, dict[str, Any]]:
    """Constructor arguments of the trained networks, JSON-able; without "semantic_encoder" where
    the frozen classifier gives the semantic variables.
    """
    flow = {"dim": style_dim, "num_conditions": num_attributes, **settings.flow}
    arguments = {"flow": {**flow, "solver": settings.solver.to_dict()}}
    if settings.semantic_encoder is not None:
        encoder = {"num_attributes": num_attributes, **settings.semantic_encoder}
        arguments["semantic_encoder"] = encoder
    return arguments


def load_backbone(path: str) -> dict[str, NDArray]:
    """Arrays of the residual network in an attribute classifier's file, keyed as by `networks.flatten`."""
    return networks.flatten(networks.load_network(path, expected="AttributeClassifier").extractor)


def build_networks(
    arguments: Mapping[str, Mapping[str, Any]],
    seed: int,
    backbone: Mapping[str, NDArray] | None = None,
) -> TrainedNetworks:
    """The networks to train, freshly initialised.

    Args:
      arguments: "flow" and "semantic_encoder" -> constructor arguments; without the latter no
        semantic encoder is built.
      seed: of the initial weights.
      backbone: arrays that the semantic encoder's residual network starts from, as by
        `load_backbone`; None for random weights.

    Raises:
      NetworkFileError: if the residual networks do not have the same shapes.
    """
    rngs = nnx.Rngs(seed)
    if "semantic_encoder" not in arguments:
        return TrainedNetworks(ConditionalFlow(**arguments["flow"], rngs=rngs), None)
    encoder = SemanticEncoder(**arguments["semantic_encoder"], rngs=rngs)
    if backbone is not None:
        networks.load_arrays(encoder.backbone, backbone, source="config.initial_backbone")
    return TrainedNetworks(ConditionalFlow(**arguments["flow"], rngs=rngs), encoder)


def build_sdflow_optimizer(
    optimizer: OptimizerSettings, *, backbone_rate: float
) -> optax.GradientTransformation:
    """The update rule of the config, in which updates of the semantic encoder's residual network are
    scaled by `backbone_rate`.

    A residual network that starts as a trained classifier's has less to learn than the flow, and if
    it learned as fast, the two would come to agree on edits that nobody else recognises.
    """
    scale = optax.scale(backbone_rate)
    return build_optimizer(optimizer, optax.masked(scale, _of_backbone))


def _of_backbone(parameters):
    """Which leaves of the trained networks' parameters are the encoder's residual network."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: (
            jax.tree_util.keystr(path[:2], simple=True, separator="/")
            == "semantic_encoder/backbone"
        ),
        parameters,
    )
