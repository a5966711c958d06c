"""StyleGAN2 generators: rosinality checkpoints (`g_ema`, `latent_avg`), NVIDIA pickles (`G_ema`).

Both store unscaled weights, as ours do, so conversion moves axes and changes no value. The two
differ in names, and in a constant factor between kernel and demodulation that cancels up to its
epsilon of 1e-8. The clamp that NVIDIA's half-precision layers put on features (at 256) is left
out: it guards half precision against overflow, and features beyond it are not to be expected.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.average_style import mean_style
from converters.conditional_mapping import fix_class
from converters.correspondence import (
    CHANNELS,
    CONV,
    MAPS,
    ONE_NUMBER,
    PLANE,
    POINTWISE,
    VECTOR,
    Entry,
    linear,
    one_more_axis,
    to_flax,
    to_torch,
)
from converters.errors import CheckpointError
from converters.state_dict import StateDict, find_state_dict, strip_prefix

KIND = "StyleGAN2 generator"

NOISES = ("random", "zero")  # noise images for a generator without: fixed normal ones, or none

_NETWORK = "Generator"
_AVERAGE = "w_average"
_MAPPING_LR_MULTIPLIER = 0.01  # both trainers' default; rosinality's files do not tell
_MAX_RESOLUTION = 4096  # four times the largest published
_FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


def matches(tree: Any) -> bool:
    """Whether `tree` is a rosinality checkpoint or an NVIDIA pickle of a StyleGAN2 generator."""
    return "input.input" in _rosinality(tree) or "synthesis.b4.const" in _nvidia(tree)


def convert(
    tree: Any, *, noises: str | None = None, class_label: int | None = None
) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Registry name, constructor arguments and arrays of our `Generator`.

    The average style is `latent_avg` or `mapping.w_avg` (of all classes, if there are several); a
    rosinality training checkpoint without one gets the mean of the mapping network over 10,000
    fixed draws of z.

    Args:
      tree: the checkpoint.
      noises: one of `NOISES`, for a rosinality checkpoint without noise images.
      class_label: the class that a conditional generator of NVIDIA's is to show, from 0.

    Raises:
      CheckpointError: if a key is missing, unexpected or mis-shaped, or the generator is not
        skip-connected, or smoothed with another filter than [1, 3, 3, 1]; if it needs noises or a
        class and none is given, or the other way round.
    """
    if "synthesis.b4.const" in _nvidia(tree):
        if noises is not None:
            raise CheckpointError("--noises is for checkpoints without noise images; this has them")
        return _convert_nvidia(tree, class_label)
    if class_label is not None:
        raise CheckpointError("--class is for NVIDIA's conditional generators; this is no such")
    source = "g_ema of a StyleGAN2 checkpoint"
    state_dict = _rosinality(tree)
    arguments = _arguments(
        state_dict,
        constant="input.input",
        colors=["to_rgb1"] + [f"to_rgbs.{i}" for i in range(_count(state_dict, "to_rgbs.{}.bias"))],
        modulation="conv1.conv.modulation",
        num_mapping_layers=_count(state_dict, "style.{}.weight", start=1),
        source=source,
    )
    filters = _rosinality_filters(len(arguments["channels"]))
    kernels = _without_filters(state_dict, filters, source=source)
    kernels = _with_noises(kernels, arguments, noises, source=source)
    flat = to_flax(kernels, _rosinality_entries(arguments), _NETWORK, arguments, source=source)
    flat[_AVERAGE] = _average(tree, flat, arguments)
    return _NETWORK, arguments, flat


def restore(arguments: Mapping[str, Any], flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The rosinality checkpoint `{"g_ema", "latent_avg"}` that `convert` would turn into `flat`."""
    state_dict = to_torch(flat, _rosinality_entries(arguments))
    state_dict |= _rosinality_filters(len(arguments["channels"]))
    return {"g_ema": state_dict, "latent_avg": np.asarray(flat[_AVERAGE])}


def restore_nvidia(
    arguments: Mapping[str, Any], flat: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The state dictionary of NVIDIA's generator that `convert` would turn into `flat`."""
    return to_torch(flat, _nvidia_entries(arguments)) | _nvidia_filters(arguments)


def _convert_nvidia(
    tree: Any, class_label: int | None
) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    source = "G_ema of an NVIDIA StyleGAN2 pickle"
    state_dict = _nvidia(tree)
    options = tree.get("G_ema", tree).get("init_kwargs", {})
    if options.get("c_dim", 0) != 0 or "mapping.embed.weight" in state_dict:
        if class_label is None:
            raise CheckpointError(
                f"{source}: the generator is conditional; choose the class to show with --class"
            )
        state_dict = fix_class(state_dict, class_label)
    elif class_label is not None:
        raise CheckpointError(f"{source}: --class is given, but the generator has no classes")
    resolutions = [
        4 * 2**i for i in range(16) if f"synthesis.b{4 * 2**i}.conv1.weight" in state_dict
    ]
    arguments = _arguments(
        state_dict,
        constant="synthesis.b4.const",
        colors=[f"synthesis.b{r}.torgb" for r in resolutions],
        modulation="synthesis.b4.conv1.affine",
        num_mapping_layers=_count(state_dict, "mapping.fc{}.weight"),
        source=source,
    )
    mapping_options = options.get("mapping_kwargs", {})
    arguments["mapping_lr_multiplier"] = float(
        mapping_options.get("lr_multiplier", _MAPPING_LR_MULTIPLIER)
    )
    kernels = _without_filters(state_dict, _nvidia_filters(arguments), source=source)
    flat = to_flax(kernels, _nvidia_entries(arguments), _NETWORK, arguments, source=source)
    return _NETWORK, arguments, flat


def _with_noises(
    state_dict: StateDict, arguments: Mapping[str, Any], noises: str | None, *, source: str
) -> StateDict:
    """The state dictionary with noise images, where it has none at all."""
    if any(key.startswith("noises.") for key in state_dict):
        if noises is not None:
            raise CheckpointError(f"{source}: --noises is given, but there are noise images")
        return state_dict
    if noises is None:
        raise CheckpointError(
            f"{source}: expected noise images (noises.*), got none;"
            f" choose some with --noises={' or --noises='.join(NOISES)}"
        )
    random = np.random.default_rng(0)
    images = {}
    for i in range(2 * len(arguments["channels"]) - 1):
        shape = (1, 1, *[4 * 2 ** ((i + 1) // 2)] * 2)
        images[f"noises.noise_{i}"] = (
            random.standard_normal(shape, np.float32)
            if noises == "random"
            else np.zeros(shape, np.float32)
        )
    return state_dict | images


def _rosinality(tree: Any) -> StateDict:
    return strip_prefix(find_state_dict(tree, "g_ema"))


def _nvidia(tree: Any) -> StateDict:
    generator = tree.get("G_ema", tree) if isinstance(tree, dict) else {}
    return find_state_dict(generator, "state_dict")


def _count(state_dict: StateDict, pattern: str, *, start: int = 0) -> int:
    number = 0
    while pattern.format(start + number) in state_dict:
        number += 1
    return number


def _arguments(
    state_dict: StateDict,
    *,
    constant: str,
    colors: list[str],
    modulation: str,
    num_mapping_layers: int,
    source: str,
) -> dict[str, Any]:
    """Constructor arguments, read off some shapes; the rest is checked against them later."""
    # The color layers come one per resolution and have its feature maps as their input.
    kernels = [
        f"{name}.weight" if f"{name}.weight" in state_dict else f"{name}.conv.weight"
        for name in colors
    ]
    needed = [constant, f"{modulation}.weight", *kernels]
    missing = [key for key in needed if key not in state_dict]
    if missing:
        raise CheckpointError(
            f"{source}: expected the key {missing[0]!r};"
            " is this a residual StyleGAN2, or another StyleGAN?"
        )
    for key in needed:
        if state_dict[key].ndim < 2:
            raise CheckpointError(
                f"{source}: {key} has shape {state_dict[key].shape}, expected more axes"
            )
    resolution = 4 * 2 ** (len(colors) - 1)
    if resolution > _MAX_RESOLUTION:
        raise CheckpointError(
            f"{source}: expected at most {_MAX_RESOLUTION} pixels, got {resolution}"
        )
    return {
        "resolution": resolution,
        "style_dim": int(state_dict[f"{modulation}.weight"].shape[1]),
        "channels": {
            str(4 * 2**i): int(state_dict[key].shape[-3]) for i, key in enumerate(kernels)
        },
        "num_mapping_layers": num_mapping_layers,
        "mapping_lr_multiplier": _MAPPING_LR_MULTIPLIER,
    }


def _rosinality_entries(arguments: Mapping[str, Any]) -> list[Entry]:
    entries = [Entry("input.input", "constant", one_more_axis(MAPS))]
    for i in range(arguments["num_mapping_layers"]):
        entries += linear(f"style.{i + 1}", f"mapping/{i}")  # 0 is the normalization
    num_blocks = len(arguments["channels"])
    for i in range(2 * num_blocks - 1):
        torch, flax = f"convs.{i - 1}" if i else "conv1", f"convs/{i}"
        entries += [
            Entry(f"{torch}.conv.weight", f"{flax}/kernel", one_more_axis(CONV)),
            *linear(f"{torch}.conv.modulation", f"{flax}/modulation"),
            # NVIDIA's and ours have no axis of length 1.
            Entry(f"{torch}.noise.weight", f"{flax}/noise_strength", ONE_NUMBER),
            Entry(f"{torch}.activate.bias", f"{flax}/bias", VECTOR),
            Entry(f"noises.noise_{i}", f"{flax}/noise", PLANE),
        ]
    for i in range(num_blocks):
        torch, flax = f"to_rgbs.{i - 1}" if i else "to_rgb1", f"to_rgbs/{i}"
        entries += [
            Entry(f"{torch}.conv.weight", f"{flax}/kernel", one_more_axis(POINTWISE)),
            *linear(f"{torch}.conv.modulation", f"{flax}/modulation"),
            Entry(f"{torch}.bias", f"{flax}/bias", CHANNELS),
        ]
    return entries


def _nvidia_entries(arguments: Mapping[str, Any]) -> list[Entry]:
    entries = [
        Entry("synthesis.b4.const", "constant", MAPS),
        Entry("mapping.w_avg", _AVERAGE, VECTOR),
    ]
    for i in range(arguments["num_mapping_layers"]):
        entries += linear(f"mapping.fc{i}", f"mapping/{i}")
    for i, name in enumerate(_nvidia_layers(arguments)):
        flax = f"convs/{i}"
        entries += [
            Entry(f"{name}.weight", f"{flax}/kernel", CONV),
            *linear(f"{name}.affine", f"{flax}/modulation"),
            Entry(f"{name}.noise_strength", f"{flax}/noise_strength", VECTOR),
            Entry(f"{name}.bias", f"{flax}/bias", VECTOR),
            Entry(f"{name}.noise_const", f"{flax}/noise", VECTOR),
        ]
    for i, resolution in enumerate(_resolutions(arguments)):
        name, flax = f"synthesis.b{resolution}.torgb", f"to_rgbs/{i}"
        entries += [
            Entry(f"{name}.weight", f"{flax}/kernel", POINTWISE),
            *linear(f"{name}.affine", f"{flax}/modulation"),
            Entry(f"{name}.bias", f"{flax}/bias", VECTOR),
        ]
    return entries


def _resolutions(arguments: Mapping[str, Any]) -> list[int]:
    return sorted(int(key) for key in arguments["channels"])


def _nvidia_layers(arguments: Mapping[str, Any]) -> list[str]:
    return ["synthesis.b4.conv1"] + [
        f"synthesis.b{r}.conv{i}" for r in _resolutions(arguments)[1:] for i in (0, 1)
    ]


def _rosinality_filters(num_blocks: int) -> dict[str, np.ndarray]:
    """The smoothing filters, which the state dictionary repeats for every layer that doubles."""
    names = [f"convs.{2 * i}.conv.blur.kernel" for i in range(num_blocks - 1)]
    names += [f"to_rgbs.{i}.upsample.kernel" for i in range(num_blocks - 1)]
    return {name: 4 * _FILTER for name in names}


def _nvidia_filters(arguments: Mapping[str, Any]) -> dict[str, np.ndarray]:
    names = [*_nvidia_layers(arguments), *(f"synthesis.b{r}" for r in _resolutions(arguments))]
    return {f"{name}.resample_filter": _FILTER.copy() for name in names}


def _without_filters(
    state_dict: StateDict, filters: Mapping[str, np.ndarray], *, source: str
) -> StateDict:
    """The state dictionary without its smoothing filters, which must be those of our layers."""
    for key, expected in filters.items():
        found = state_dict.get(key)
        if (
            found is None
            or found.shape != expected.shape
            or not np.allclose(found, expected, atol=1e-6)
        ):
            raise CheckpointError(
                f"{source}: expected the filter [1, 3, 3, 1] in {key},"
                f" got {'nothing' if found is None else np.array2string(found, precision=3)}"
            )
    return {key: value for key, value in state_dict.items() if key not in filters}


def _average(tree: Any, flat: Mapping[str, np.ndarray], arguments: Mapping[str, Any]) -> np.ndarray:
    average = tree.get("latent_avg") if isinstance(tree, dict) else None
    if average is None:
        return mean_style(flat, arguments["num_mapping_layers"], arguments["mapping_lr_multiplier"])
    shape = (arguments["style_dim"],)
    if not isinstance(average, np.ndarray) or average.shape not in (shape, (1, *shape)):
        found = average.shape if isinstance(average, np.ndarray) else type(average).__name__
        raise CheckpointError(
            f"StyleGAN2 checkpoint: expected latent_avg of shape {shape}, got {found}"
        )
    return average.reshape(shape).astype(np.float32)
