"""The roles of `config.networks`, and whether a network file can play its part."""

import pathlib
from collections.abc import Mapping, Sequence

from flax import nnx

from sdflow_jax.files import networks
from sdflow_jax.files.attribute_names import attribute_columns, attribute_names

# Role in config.networks -> the registry names that can fill it.
ROLES = {
    "generator": ("Generator", "MobileStyleGAN", "CompactGenerator"),
    "inversion_encoder": ("InversionEncoder",),
    "classifier": ("AttributeClassifier",),
    "evaluation_classifier": ("AttributeClassifier",),
    "identity_encoder": ("IdentityEncoder", "IResNet"),
}
# What a run depends on; no inversion encoder where the faces come with their latents.
TRAINING_ROLES = ("generator", "inversion_encoder", "classifier")
JUDGING_ROLES = ("evaluation_classifier", "identity_encoder")

# Role -> what to call the checkpoint that fills it, in the command that converts it.
_CHECKPOINTS = {
    "generator": "STYLEGAN2.pt",
    "inversion_encoder": "E4E.pt",
    "classifier": "CLASSIFIER.pth",
    "evaluation_classifier": "CLASSIFIER.pth",
    "identity_encoder": "ARCFACE.pth",
}


def load_role(files: Mapping[str, str], role: str) -> nnx.Module:
    """The network that plays a role of `config.networks`.

    Raises:
      NetworkFileError: if its file is missing, damaged, or of a kind that cannot.
    """
    return networks.load_network(files[role], expected=ROLES[role])


def check_roles(
    files: Mapping[str, str],
    attributes: Sequence[str],
    *,
    required: Sequence[str] = TRAINING_ROLES,
) -> list[str]:
    """What is wrong with the files of `config.networks`, a line for each mistake.

    Reads what the files say of themselves, and none of their arrays.

    Args:
      files: role -> network file, empty for a role that nobody plays.
      attributes: names that the classifier must know.
      required: roles that somebody must play.
    """
    complaints = []
    for role, path in files.items():
        if role not in ROLES:
            complaints.append(
                f"config.networks.{role} is no role; the roles are {', '.join(ROLES)}"
            )
        elif path:
            complaints += _check_file(role, path, attributes)
    complaints += [
        f"config.networks.{role} must be a network file; {_how_to_make(role)}"
        for role in required
        if not files.get(role)
    ]
    if complaints or not files.get("inversion_encoder"):
        return complaints
    return _check_latents(files)


def _check_file(role: str, path: str, attributes: Sequence[str]) -> list[str]:
    try:
        metadata = networks.read_metadata(path)
        if metadata["network"] not in ROLES[role]:
            expected = " or ".join(ROLES[role])
            found = metadata["network"]
            return [f"config.networks.{role}: expected a {expected}, {path} holds a {found}"]
        if role in ("classifier", "evaluation_classifier"):
            names = attribute_names(metadata)
            if role == "classifier":
                attribute_columns(names, attributes)
    except networks.NetworkFileError as error:
        return [f"config.networks.{role}: {error}; {_how_to_make(role, path)}"]
    except ValueError as error:
        return [f"config.attributes: {error}"]
    return []


def _check_latents(files: Mapping[str, str]) -> list[str]:
    """Whether the generator takes what the inversion encoder gives; both are there."""
    generator, encoder = (
        networks.build_abstract(metadata["network"], metadata["arguments"])
        for metadata in (
            networks.read_metadata(files[role]) for role in ("generator", "inversion_encoder")
        )
    )
    taken, given = ((x.num_styles, x.style_dim) for x in (generator, encoder))
    if taken == given:
        return []
    return [
        f"config.networks: the generator takes latents of shape {taken}, the inversion encoder gives"
        f" {given}; they belong to two different worlds"
    ]


def _how_to_make(role: str, path: str = "") -> str:
    file = pathlib.Path(path)
    if file.suffix != ".safetensors":  # nothing, or a packaged network that does not exist
        file = pathlib.Path("networks") / f"{role}.safetensors"
    return (
        "make it from your PyTorch checkpoint with"
        f" `python -m converters {_CHECKPOINTS[role]} --out {file.parent} --name {file.stem}`"
    )
