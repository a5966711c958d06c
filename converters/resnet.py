"""SDFlow's attribute classifier and attribute estimator, both on torchvision ResNets.

Upstream `models/attribute_estimator.py`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.correspondence import Entry, batch_norm, linear, to_flax, to_torch
from converters.residual_tables import count_children, resnet, resnet_arguments
from converters.state_dict import StateDict, find_state_dict, strip_prefix

KIND = "attribute network (SDFlow classifier or estimator)"

# Upstream's heads are Sequential(Linear, BatchNorm, ReLU, ..., Linear): three numbers per hidden
# layer.
_NUMBERS_PER_LAYER = 3


def matches(tree: Any) -> bool:
    """Whether `tree` is a checkpoint of the classifier or of the estimator."""
    state_dict = _state_dict(tree)
    return _is_classifier(state_dict) or "backbone.fc.weight" in state_dict


def convert(tree: Any) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Registry name, constructor arguments and arrays of our network.

    Raises:
      CheckpointError: if a key is missing, unexpected or mis-shaped, or the ResNet has an unknown
        depth.
    """
    state_dict = _state_dict(tree)
    if _is_classifier(state_dict):
        network, source, prefix = "AttributeClassifier", "attribute classifier", "extractor."
    else:
        network, source, prefix = "SemanticEncoder", "attribute estimator", "backbone."
    arguments: dict[str, Any] = resnet_arguments(state_dict, prefix, source=source)
    arguments["stem_pool"] = True
    if network == "AttributeClassifier":
        arguments["num_attributes"] = count_children(state_dict, "attr_heads.")
        arguments["head_sizes"] = _head_sizes(state_dict)
        age = state_dict.get("age_heads.fc.weight")
        arguments["num_age_thresholds"] = 0 if age is None else int(age.shape[0])
    else:
        output = state_dict.get("backbone.fc.weight", np.empty((0,)))
        arguments |= {"num_attributes": int(output.shape[0]), "hidden_sizes": []}
    return (
        network,
        arguments,
        to_flax(state_dict, _entries(arguments), network, arguments, source=source),
    )


def restore(arguments: Mapping[str, Any], flat: Mapping[str, np.ndarray]) -> StateDict:
    """The state dictionary that `convert` would turn into `flat`."""
    return to_torch(flat, _entries(arguments))


def _state_dict(tree: Any) -> StateDict:
    return strip_prefix(find_state_dict(tree, "state_dict", "model", "net"))


def _is_classifier(state_dict: StateDict) -> bool:
    return "attr_heads.0.0.weight" in state_dict and "extractor.conv1.weight" in state_dict


def _head_sizes(state_dict: StateDict) -> list[int]:
    sizes = []
    while f"attr_heads.0.{len(sizes) * _NUMBERS_PER_LAYER + 1}.running_mean" in state_dict:
        sizes.append(
            int(state_dict[f"attr_heads.0.{len(sizes) * _NUMBERS_PER_LAYER}.weight"].shape[0])
        )
    return sizes


def _entries(arguments: Mapping[str, Any]) -> list[Entry]:
    depth, width = arguments["depth"], arguments["width"]
    if "head_sizes" not in arguments:
        return resnet("backbone.", "backbone", depth, width) + linear("backbone.fc", "output")
    entries = resnet("extractor.", "extractor", depth, width)
    num_hidden = len(arguments["head_sizes"])
    for part in range(arguments["num_attributes"]):
        head = f"attr_heads.{part}"
        for i in range(num_hidden):
            number = _NUMBERS_PER_LAYER * i
            entries += linear(f"{head}.{number}", f"heads/linears/{i}", part=part)
            entries += batch_norm(f"{head}.{number + 1}", f"heads/norms/{i}", part=part)
        entries += linear(f"{head}.{_NUMBERS_PER_LAYER * num_hidden}", "heads/output", part=part)
    if arguments["num_age_thresholds"]:
        entries += resnet("age_heads.", "age_extractor", depth, width)
        entries += linear("age_heads.fc", "age_output")
    return entries
