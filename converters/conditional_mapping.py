"""A class-conditional StyleGAN2 mapping network with one class put into its weights.

NVIDIA's conditional networks append the class, embedded and normalized, to z (stylegan2-ada-pytorch
`training/networks.py: MappingNetwork`). For one class that half is constant, and its product with
the first layer belongs to that layer's bias. What is left is an unconditional generator.
"""

from collections.abc import Mapping

import numpy as np

from converters.errors import CheckpointError
from converters.state_dict import StateDict

_EMBEDDING = ("mapping.embed.weight", "mapping.embed.bias")
_FIRST_LAYER = ("mapping.fc0.weight", "mapping.fc0.bias")
_EPSILON = 1e-8


def fix_class(state_dict: Mapping[str, np.ndarray], label: int) -> StateDict:
    """The state dictionary of the unconditional generator for one class.

    Args:
      state_dict: NVIDIA's, of a conditional generator.
      label: the class, from 0.

    Raises:
      CheckpointError: if there is no such class, or the layers' shapes do not fit each other.
    """
    for key in (*_EMBEDDING, *_FIRST_LAYER):
        if key not in state_dict:
            raise CheckpointError(f"expected the key {key!r} of a conditional generator")
    embed, embed_bias, weight, bias = (
        np.asarray(state_dict[key], np.float64) for key in (*_EMBEDDING, *_FIRST_LAYER)
    )
    if embed.ndim != 2 or weight.ndim != 2 or len(embed_bias) != len(embed):
        raise CheckpointError("the embedding of classes is damaged")
    (features, num_classes), size = embed.shape, weight.shape[1]
    if not 0 <= label < num_classes:
        raise CheckpointError(
            f"expected a class from 0 to {num_classes - 1}, got {label}; see --class"
        )
    if size <= features or bias.shape != weight.shape[:1]:
        raise CheckpointError("the embedding of classes does not fit the mapping network")
    # Both layers divide their weights by the root of their inputs when they run. The second also
    # multiplies weights and bias by its learning rate, which cancels here.
    embedded = embed[:, label] / np.sqrt(num_classes) + embed_bias
    embedded /= np.sqrt(np.mean(np.square(embedded)) + _EPSILON)
    noise, constant = weight[:, : size - features], weight[:, size - features :]
    changed = {
        _FIRST_LAYER[0]: noise * np.sqrt(noise.shape[1] / size),
        _FIRST_LAYER[1]: bias + constant @ embedded / np.sqrt(size),
    }
    return {
        key: changed[key].astype(np.float32) if key in changed else value
        for key, value in state_dict.items()
        if key not in _EMBEDDING
    }
