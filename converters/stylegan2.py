"""StyleGAN2 generators: rosinality checkpoints (`g_ema`, `latent_avg`), NVIDIA pickles (`G_ema`).

Both store unscaled weights, as ours do, so conversion moves axes and changes no value. The two
differ in names, and in a constant factor between kernel and demodulation that cancels up to its
epsilon of 1e-8. The clamp that NVIDIA's half-precision layers put on features (at 256) is left
out: it guards half precision against overflow, and features beyond it are not to be expected.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.correspondence import CONV, VECTOR, Entry, Layout, linear, to_flax, to_torch
from converters.errors import CheckpointError
from converters.state_dict import StateDict, find_state_dict, strip_prefix
from sdflow_jax.files import networks

KIND = "StyleGAN2 generator"

_NETWORK = "Generator"
_AVERAGE = "w_average"
_MAPPING_LR_MULTIPLIER = 0.01  # both trainers' default; rosinality's files do not tell
_FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
_NUM_AVERAGED = 10_000

_SCALAR = Layout(lambda x: x.reshape(()), lambda x: x.reshape(1))
_NOISE = Layout(lambda x: x[0, 0], lambda x: x[None, None])
_CONSTANT = Layout(lambda x: x.transpose(1, 2, 0), lambda x: x.transpose(2, 0, 1))
_COLORS = Layout(lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None])
_COLOR_BIAS = Layout(lambda x: x[0, :, 0, 0], lambda x: x[None, :, None, None])


def _one_more_axis(layout: Layout) -> Layout:
    """The same layout behind rosinality's leading axis of length one."""
    return Layout(lambda x: layout.forward(x[0]), lambda x: layout.backward(x)[None])


def matches(tree: Any) -> bool:
    """Whether `tree` is a rosinality checkpoint or an NVIDIA pickle of a StyleGAN2 generator."""
    return "input.input" in _rosinality(tree) or "synthesis.b4.const" in _nvidia(tree)


def convert(tree: Any) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Registry name, constructor arguments and arrays of our `Generator`.

    The average style is `latent_avg` or `mapping.w_avg`; a rosinality training checkpoint without
    one gets the mean of the mapping network over 10,000 fixed draws of z.

    Raises:
      CheckpointError: if a key is missing, unexpected or mis-shaped, or the generator is
        conditional, not skip-connected, or smoothed with another filter than [1, 3, 3, 1].
    """
    if "synthesis.b4.const" in _nvidia(tree):
        return _convert_nvidia(tree)
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
    flat = _to_flax(kernels, _rosinality_entries(arguments), arguments, source=source)
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
    state_dict = to_torch(flat, _nvidia_entries(arguments)) | _nvidia_filters(arguments)
    return {
        key: value.reshape(()) if key.endswith("noise_strength") else value
        for key, value in state_dict.items()
    }


def _convert_nvidia(tree: Any) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    source = "G_ema of an NVIDIA StyleGAN2 pickle"
    state_dict = _nvidia(tree)
    options = tree.get("G_ema", tree).get("init_kwargs", {})
    if options.get("c_dim", 0) != 0 or "mapping.embed.weight" in state_dict:
        raise CheckpointError(f"{source}: expected an unconditional generator, got class labels")
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
    # NVIDIA's noise strengths have no axis, rosinality's one of length 1: the table has the latter.
    state_dict = {key: np.atleast_1d(value) for key, value in state_dict.items()}
    kernels = _without_filters(state_dict, _nvidia_filters(arguments), source=source)
    flat = _to_flax(kernels, _nvidia_entries(arguments), arguments, source=source)
    return _NETWORK, arguments, flat


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
    return {
        "resolution": 4 * 2 ** (len(colors) - 1),
        "style_dim": int(state_dict[f"{modulation}.weight"].shape[1]),
        "channels": {
            str(4 * 2**i): int(state_dict[key].shape[-3]) for i, key in enumerate(kernels)
        },
        "num_mapping_layers": num_mapping_layers,
        "mapping_lr_multiplier": _MAPPING_LR_MULTIPLIER,
    }


def _rosinality_entries(arguments: Mapping[str, Any]) -> list[Entry]:
    entries = [Entry("input.input", "constant", _one_more_axis(_CONSTANT))]
    for i in range(arguments["num_mapping_layers"]):
        entries += linear(f"style.{i + 1}", f"mapping/{i}")  # 0 is the normalization
    num_blocks = len(arguments["channels"])
    for i in range(2 * num_blocks - 1):
        torch, flax = f"convs.{i - 1}" if i else "conv1", f"convs/{i}"
        entries += [
            Entry(f"{torch}.conv.weight", f"{flax}/kernel", _one_more_axis(CONV)),
            *linear(f"{torch}.conv.modulation", f"{flax}/modulation"),
            Entry(f"{torch}.noise.weight", f"{flax}/noise_strength", _SCALAR),
            Entry(f"{torch}.activate.bias", f"{flax}/bias", VECTOR),
            Entry(f"noises.noise_{i}", f"{flax}/noise", _NOISE),
        ]
    for i in range(num_blocks):
        torch, flax = f"to_rgbs.{i - 1}" if i else "to_rgb1", f"to_rgbs/{i}"
        entries += [
            Entry(f"{torch}.conv.weight", f"{flax}/kernel", _one_more_axis(_COLORS)),
            *linear(f"{torch}.conv.modulation", f"{flax}/modulation"),
            Entry(f"{torch}.bias", f"{flax}/bias", _COLOR_BIAS),
        ]
    return entries


def _nvidia_entries(arguments: Mapping[str, Any]) -> list[Entry]:
    entries = [
        Entry("synthesis.b4.const", "constant", _CONSTANT),
        Entry("mapping.w_avg", _AVERAGE, VECTOR),
    ]
    for i in range(arguments["num_mapping_layers"]):
        entries += linear(f"mapping.fc{i}", f"mapping/{i}")
    for i, name in enumerate(_nvidia_layers(arguments)):
        flax = f"convs/{i}"
        entries += [
            Entry(f"{name}.weight", f"{flax}/kernel", CONV),
            *linear(f"{name}.affine", f"{flax}/modulation"),
            Entry(f"{name}.noise_strength", f"{flax}/noise_strength", _SCALAR),
            Entry(f"{name}.bias", f"{flax}/bias", VECTOR),
            Entry(f"{name}.noise_const", f"{flax}/noise", VECTOR),
        ]
    for i, resolution in enumerate(_resolutions(arguments)):
        name, flax = f"synthesis.b{resolution}.torgb", f"to_rgbs/{i}"
        entries += [
            Entry(f"{name}.weight", f"{flax}/kernel", _COLORS),
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


def _to_flax(
    state_dict: StateDict, entries: list[Entry], arguments: dict[str, Any], *, source: str
) -> dict[str, np.ndarray]:
    flat = to_flax(state_dict, entries, _NETWORK, arguments, source=source)
    shapes = networks.expected_shapes(_NETWORK, arguments)
    return {path: array.reshape(shapes[path]) for path, array in flat.items()}


def _average(tree: Any, flat: Mapping[str, np.ndarray], arguments: Mapping[str, Any]) -> np.ndarray:
    average = tree.get("latent_avg") if isinstance(tree, dict) else None
    if average is None:
        return _mean_style(flat, arguments)
    shape = (arguments["style_dim"],)
    if not isinstance(average, np.ndarray) or average.shape not in (shape, (1, *shape)):
        found = average.shape if isinstance(average, np.ndarray) else type(average).__name__
        raise CheckpointError(
            f"StyleGAN2 checkpoint: expected latent_avg of shape {shape}, got {found}"
        )
    return average.reshape(shape).astype(np.float32)


def _mean_style(flat: Mapping[str, np.ndarray], arguments: Mapping[str, Any]) -> np.ndarray:
    dim, multiplier = arguments["style_dim"], arguments["mapping_lr_multiplier"]
    x = np.random.default_rng(0).standard_normal((_NUM_AVERAGED, dim)).astype(np.float32)
    x /= np.sqrt(np.mean(np.square(x), axis=1, keepdims=True) + 1e-8)
    for i in range(arguments["num_mapping_layers"]):
        kernel, bias = flat[f"mapping/{i}/kernel"], flat[f"mapping/{i}/bias"]
        x = x @ (kernel * (multiplier / np.sqrt(dim))).astype(np.float32) + bias * multiplier
        x = np.maximum(x, 0.2 * x) * np.sqrt(2).astype(np.float32)
    return x.mean(axis=0)
