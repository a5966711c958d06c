"""What a checkpoint does not say of its network and the package needs to know, as notes for its file."""

from collections.abc import Mapping, Sequence
from typing import Any

from converters.errors import CheckpointError
from sdflow_jax.files.attribute_names import CELEBA_ATTRIBUTES

_READERS = ("AttributeClassifier", "SemanticEncoder")
_IDENTITY = ("IdentityEncoder", "IResNet")


def input_notes(
    network: str,
    arguments: Mapping[str, Any],
    *,
    attributes: Sequence[str] | None = None,
    image_size: int | None = None,
    crop: Sequence[float] | None = None,
) -> dict[str, str]:
    """Notes on a network's inputs and outputs, as `load_judges` and `FlowEditing` read them.

    Args:
      network: its registry name.
      arguments: its constructor arguments.
      attributes: names of its outputs; of a classifier or semantic encoder.
      image_size: side of its input in pixels; of a classifier or semantic encoder.
      crop: the part of the face that it sees, as (top, left, side) in shares of the image's side; of
        an identity encoder.

    Raises:
      CheckpointError: if a note does not apply to this network or cannot be meant.
    """
    given = {"--attributes": attributes, "--image-size": image_size, "--crop": crop}
    fitting = {"--attributes": _READERS, "--image-size": _READERS, "--crop": _IDENTITY}
    for flag, value in given.items():
        if value is not None and network not in fitting[flag]:
            raise CheckpointError(
                f"{flag} is for {' and '.join(fitting[flag])}, the checkpoint holds: {network}"
            )
    notes = {}
    if attributes is not None:
        notes["attributes"] = ",".join(_checked_names(attributes, arguments["num_attributes"]))
    if image_size is not None:
        if image_size < 1:
            raise CheckpointError(f"--image-size must be at least 1, got {image_size}")
        notes["image_size"] = str(image_size)
    if crop is not None:
        notes["crop"] = ",".join(f"{share:g}" for share in _checked_crop(crop))
    return notes


def missing_notes(network: str, arguments: Mapping[str, Any], notes: Mapping[str, str]) -> str:
    """A sentence on the flags without which training or editing will refuse the file, or nothing."""
    missing = []
    count = arguments.get("num_attributes")
    # A classifier of 40 is taken to have CelebA's attributes, in their own order.
    is_celeba = network == "AttributeClassifier" and count == len(CELEBA_ATTRIBUTES)
    if network in _READERS and not is_celeba and "attributes" not in notes:
        missing.append(f"--attributes (its {count} outputs)")
    if network == "SemanticEncoder" and "image_size" not in notes:
        missing.append("--image-size (the side of its input)")
    if not missing:
        return ""
    return f"the checkpoint does not say, and editing will ask for: {' and '.join(missing)}"


def _checked_names(names: Sequence[str], count: int) -> Sequence[str]:
    if len(names) != count or len(set(names)) != count or not all(names):
        raise CheckpointError(
            f"--attributes must name {count} outputs, each once, got {len(names)}: {', '.join(names)}"
        )
    return names


def _checked_crop(crop: Sequence[float]) -> Sequence[float]:
    if len(crop) != 3 or min(crop) < 0 or crop[2] == 0 or max(crop[0], crop[1]) + crop[2] > 1:
        raise CheckpointError(
            "--crop must be TOP,LEFT,SIDE in shares of the image's side, within the image, got"
            f" {','.join(f'{share:g}' for share in crop)}"
        )
    return crop
