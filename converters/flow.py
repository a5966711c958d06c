"""The conditional flows of SDFlow (checkpoints `prior-*`) and of StyleFlow, which is the same network
with 17 conditions (`models/flows` and `module/flow.py`)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.correspondence import LINEAR, ONE_NUMBER, VECTOR, Entry, linear, to_flax, to_torch
from converters.errors import CheckpointError
from converters.state_dict import StateDict, find_state_dict, strip_prefix

KIND = "conditional flow (SDFlow prior or StyleFlow)"

_NETWORK = "ConditionalFlow"

# Counts how often the field was evaluated since the program began: no part of the network.
_EVALUATIONS = "odefunc._num_evals"


def matches(tree: Any) -> bool:
    """Whether `tree` is a checkpoint of a flow."""
    state_dict = _state_dict(tree)
    return "chain.0.running_mean" in state_dict and "chain.1.sqrt_end_time" in state_dict


def convert(tree: Any) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Registry name, constructor arguments and arrays of our network.

    The arguments say nothing of the solver: upstream's dopri5 at 1e-5 is the default.

    Raises:
      CheckpointError: if a key is missing, unexpected or mis-shaped, or an entry is not finite.
    """
    source = "conditional flow"
    state_dict = _state_dict(tree)
    arguments = _arguments(state_dict, source=source)
    found = {key: value for key, value in state_dict.items() if not key.endswith(_EVALUATIONS)}
    flat = to_flax(found, _entries(arguments), _NETWORK, arguments, source=source)
    return _NETWORK, arguments, flat


def restore(arguments: Mapping[str, Any], flat: Mapping[str, np.ndarray]) -> StateDict:
    """The state dictionary that `convert` would turn into `flat`; counts of evaluations are 0."""
    state_dict = to_torch(flat, _entries(arguments))
    for block in range(arguments["num_blocks"]):
        state_dict[f"chain.{2 * block + 1}.{_EVALUATIONS}"] = np.zeros((), np.float32)
    return state_dict


def _state_dict(tree: Any) -> StateDict:
    return strip_prefix(find_state_dict(tree, "state_dict", "model", "prior"))


def _arguments(state_dict: StateDict, *, source: str) -> dict[str, Any]:
    kernels = []
    while (key := f"chain.1.odefunc.diffeq.layers.{len(kernels)}._layer.weight") in state_dict:
        kernels.append(state_dict[key])
    context = state_dict.get("chain.1.odefunc.diffeq.layers.0._hyper_gate.weight")
    if not kernels or context is None or any(x.ndim != 2 for x in (context, *kernels)):
        raise CheckpointError(
            f"{source}: expected ConcatSquash layers under chain.1.odefunc.diffeq.layers,"
            " found none; was the flow built with another kind of layer?"
        )
    return {
        "dim": int(kernels[0].shape[1]),
        "num_conditions": int(context.shape[1]) - 1,  # the first column is the time's
        "hidden_sizes": [int(kernel.shape[0]) for kernel in kernels[:-1]],
        "num_blocks": sum(key.endswith(".sqrt_end_time") for key in state_dict),
    }


def _entries(arguments: Mapping[str, Any]) -> list[Entry]:
    entries = _norm("chain.0", "norms/0")
    for block in range(arguments["num_blocks"]):
        torch, flax = f"chain.{2 * block + 1}", f"blocks/{block}"
        entries.append(Entry(f"{torch}.sqrt_end_time", f"{flax}/sqrt_end_time", VECTOR))
        for i in range(len(arguments["hidden_sizes"]) + 1):
            entries += _layer(f"{torch}.odefunc.diffeq.layers.{i}", f"{flax}/field/layers/{i}")
        entries += _norm(f"chain.{2 * block + 2}", f"norms/{block + 1}")
    return entries


def _norm(torch: str, flax: str) -> list[Entry]:
    return [
        Entry(f"{torch}.weight", f"{flax}/log_scale", VECTOR),
        Entry(f"{torch}.bias", f"{flax}/bias", VECTOR),
        Entry(f"{torch}.step", f"{flax}/num_updates", ONE_NUMBER),
        Entry(f"{torch}.running_mean", f"{flax}/mean", VECTOR),
        Entry(f"{torch}.running_var", f"{flax}/variance", VECTOR),
    ]


def _layer(torch: str, flax: str) -> list[Entry]:
    return [
        *linear(f"{torch}._layer", f"{flax}/linear"),
        Entry(f"{torch}._hyper_bias.weight", f"{flax}/shift/kernel", LINEAR),
        *linear(f"{torch}._hyper_gate", f"{flax}/gate"),
    ]
