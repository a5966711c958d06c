"""Tables of the residual networks: which of their arrays is which of ours.

torchvision's ResNet, the IR-SE or IR body of e4e and ArcFace, InsightFace's iresnet.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from converters.correspondence import VECTOR, Entry, batch_norm, conv
from converters.errors import CheckpointError
from sdflow_jax.models.resnet import LAYOUTS


def resnet(torch: str, flax: str, depth: int, width: int) -> list[Entry]:
    """Rows of a `ResNet` without its classification layer; `torch` is empty or ends with a dot."""
    layout = LAYOUTS[depth]
    entries = conv(f"{torch}conv1", f"{flax}/stem") + batch_norm(f"{torch}bn1", f"{flax}/stem_norm")
    for stage, num_units in enumerate(layout.units):
        for unit in range(num_units):
            old, new = f"{torch}layer{stage + 1}.{unit}", f"{flax}/layers/{stage}/{unit}"
            for i in range(3 if layout.bottleneck else 2):
                entries += conv(f"{old}.conv{i + 1}", f"{new}/convs/{i}")
                entries += batch_norm(f"{old}.bn{i + 1}", f"{new}/norms/{i}")
            if unit == 0 and (stage > 0 or layout.bottleneck):
                entries += conv(f"{old}.downsample.0", f"{new}/projection")
                entries += batch_norm(f"{old}.downsample.1", f"{new}/projection_norm")
    return entries


def resnet_arguments(
    state_dict: Mapping[str, np.ndarray], torch: str, *, source: str
) -> dict[str, int]:
    """Depth and width of the torchvision ResNet under the key prefix `torch`.

    Raises:
      CheckpointError: if it has none of the known depths.
    """
    units = tuple(count_children(state_dict, f"{torch}layer{stage}.") for stage in (1, 2, 3, 4))
    bottleneck = f"{torch}layer1.0.conv3.weight" in state_dict
    for depth, layout in LAYOUTS.items():
        if layout == (units, bottleneck):
            return {"depth": depth, "width": int(state_dict[f"{torch}conv1.weight"].shape[0])}
    kind = "bottlenecks" if bottleneck else "units"
    raise CheckpointError(
        f"{source}: expected a ResNet of depth {', '.join(map(str, LAYOUTS))},"
        f" got stages of {units} {kind}"
    )


def irse_body(
    torch: str,
    flax: str,
    widths: Sequence[int],
    units: Sequence[int],
    *,
    squeeze_excitation: bool,
) -> list[Entry]:
    """Rows of the IR-SE body (of the IR body without squeeze and excitation), whose units PyTorch
    numbers through all stages.
    """
    entries = conv(f"{torch}input_layer.0", f"{flax}/stem/conv")
    entries += batch_norm(f"{torch}input_layer.1", f"{flax}/stem/norm")
    entries += prelu(f"{torch}input_layer.2", f"{flax}/stem")
    number = 0
    for stage, num_units in enumerate(units):
        for unit in range(num_units):
            old, new = f"{torch}body.{number}.", f"{flax}/layers/{stage}/{unit}"
            number += 1
            entries += batch_norm(f"{old}res_layer.0", f"{new}/input_norm")
            entries += conv(f"{old}res_layer.1", f"{new}/conv_in")
            entries += prelu(f"{old}res_layer.2", new)
            entries += conv(f"{old}res_layer.3", f"{new}/conv_out")
            entries += batch_norm(f"{old}res_layer.4", f"{new}/output_norm")
            if squeeze_excitation:
                entries += conv(f"{old}res_layer.5.fc1", f"{new}/gate/squeeze")
                entries += conv(f"{old}res_layer.5.fc2", f"{new}/gate/excite")
            if unit == 0 and widths[stage] != widths[stage + 1]:
                entries += conv(f"{old}shortcut_layer.0", f"{new}/projection")
                entries += batch_norm(f"{old}shortcut_layer.1", f"{new}/projection_norm")
    return entries


def irse_arguments(
    state_dict: Mapping[str, np.ndarray], torch: str, *, source: str
) -> dict[str, list[int]]:
    """Widths and units of an IR-SE or IR body.

    A stage begins at the first unit and wherever the channels change.

    Raises:
      CheckpointError: if that does not make four stages.
    """
    per_unit = [
        int(state_dict[key].shape[0])
        for i in range(count_children(state_dict, f"{torch}body."))
        if (key := f"{torch}body.{i}.res_layer.3.weight") in state_dict
    ]
    starts = [i for i, width in enumerate(per_unit) if i == 0 or width != per_unit[i - 1]]
    if len(starts) != 4 or f"{torch}input_layer.0.weight" not in state_dict:
        raise CheckpointError(
            f"{source}: expected an IR or IR-SE body of four stages,"
            f" found units of {sorted(set(per_unit))} channels"
        )
    stem = int(state_dict[f"{torch}input_layer.0.weight"].shape[0])
    units = [int(n) for n in np.diff([*starts, len(per_unit)])]
    return {"widths": [stem, *(per_unit[start] for start in starts)], "units": units}


def iresnet_body(torch: str, flax: str, units: Sequence[int]) -> list[Entry]:
    """Rows of InsightFace's body."""
    entries = conv(f"{torch}conv1", f"{flax}/stem/conv")
    entries += batch_norm(f"{torch}bn1", f"{flax}/stem/norm")
    entries += prelu(f"{torch}prelu", f"{flax}/stem")
    for stage, num_units in enumerate(units):
        for unit in range(num_units):
            old, new = f"{torch}layer{stage + 1}.{unit}.", f"{flax}/layers/{stage}/{unit}"
            entries += batch_norm(f"{old}bn1", f"{new}/input_norm")
            entries += conv(f"{old}conv1", f"{new}/conv_in")
            entries += batch_norm(f"{old}bn2", f"{new}/middle_norm")
            entries += prelu(f"{old}prelu", new)
            entries += conv(f"{old}conv2", f"{new}/conv_out")
            entries += batch_norm(f"{old}bn3", f"{new}/output_norm")
            if unit == 0:
                entries += conv(f"{old}downsample.0", f"{new}/projection")
                entries += batch_norm(f"{old}downsample.1", f"{new}/projection_norm")
    return entries


def prelu(torch: str, flax: str) -> list[Entry]:
    """The row of a PReLU that is called `activation` in the module at `flax`."""
    return [Entry(f"{torch}.weight", f"{flax}/activation/slope", VECTOR)]


def count_children(state_dict: Mapping[str, np.ndarray], prefix: str) -> int:
    """How many different names follow `prefix`, up to the next dot."""
    return len({key[len(prefix) :].split(".")[0] for key in state_dict if key.startswith(prefix)})
