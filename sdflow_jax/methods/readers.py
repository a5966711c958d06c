"""What reads the semantic variables off a face: a semantic encoder, or the frozen classifier."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.files import networks
from sdflow_jax.files.attribute_names import attribute_columns, attribute_names
from sdflow_jax.images.resizing import crop_and_resize
from sdflow_jax.models.chosen_attributes import ChosenAttributes

# What may read the semantic variables: registry name -> what figures call it.
READERS = {"SemanticEncoder": "semantic encoder", "ChosenAttributes": "training classifier"}

# The same -> its network file in a finished run.
READER_FILES = {
    "SemanticEncoder": "semantic_encoder.safetensors",
    "ChosenAttributes": "training_classifier.safetensors",
}


def find_reader(directory: pathlib.Path) -> pathlib.Path:
    """The file of what reads the semantic variables in the directory of a finished run.

    Of a run before there was a name for each kind, a classifier lies under the semantic encoder's.
    """
    files = [directory / READER_FILES[name] for name in ("ChosenAttributes", "SemanticEncoder")]
    return next((file for file in files if file.exists()), files[-1])


def save_reader(
    directory: pathlib.Path,
    reader: nnx.Module,
    arguments: Mapping[str, Any],
    notes: Mapping[str, str],
) -> None:
    """Write the file that `find_reader` finds.

    Args:
      directory: of a finished run.
      reader: a semantic encoder, or the frozen classifier.
      arguments: its constructor arguments.
      notes: of the file; `load_reader` needs "attributes" and "image_size".
    """
    file = directory / READER_FILES[type(reader).__name__]
    networks.save_network(file, reader, arguments, notes=notes)
    for name in READER_FILES.values():
        if name != file.name:
            (directory / name).unlink(missing_ok=True)


def load_reader(path: str | os.PathLike[str]) -> tuple[nnx.Module, tuple[str, ...], int]:
    """Load what reads semantic variables off images, a semantic encoder or the frozen classifier.

    Returns:
      The network, the names of the semantic variables, and the side of its input in pixels.

    Raises:
      NetworkFileError: if the file is missing, of another kind, or does not name attributes, each once,
        or image size.
    """
    notes = networks.read_metadata(path)
    if notes["network"] not in READERS:
        raise networks.NetworkFileError(
            f"{path}: expected a {' or '.join(READERS)}, the file holds a {notes['network']}"
        )
    for note in ("attributes", "image_size"):
        if not notes.get(note):
            raise networks.NetworkFileError(
                f"{path}: the file lacks the note {note!r}; training writes it, and so does"
                f" `python -m converters` with --{note.replace('_', '-')}"
            )
    encoder = networks.load_network(path)
    attributes = tuple(name.strip() for name in notes["attributes"].split(","))
    if len(attributes) != encoder.num_attributes:
        raise networks.NetworkFileError(
            f"{path}: the network reads {encoder.num_attributes} semantic variables, its note"
            f" 'attributes' names {len(attributes)}"
        )
    if len(set(attributes)) < len(attributes):
        raise networks.NetworkFileError(
            f"{path}: the note 'attributes' names one of them twice: {notes['attributes']}"
        )
    size = notes["image_size"]
    if not (size.isascii() and size.isdecimal() and int(size) > 0):
        raise networks.NetworkFileError(
            f"{path}: the note 'image_size' must be a number of pixels, got {size!r}"
        )
    return encoder, attributes, int(size)


def load_classifier_reader(
    path: str, attributes: Sequence[str]
) -> tuple[ChosenAttributes, dict[str, Any]]:
    """The frozen classifier as reader of some of its attributes, and the reader's constructor
    arguments.

    Args:
      path: network file of the classifier.
      attributes: names of the semantic variables.

    Raises:
      NetworkFileError: if the file is missing or of another kind.
      ValueError: if the classifier does not know an attribute.
    """
    metadata = networks.read_metadata(path)
    columns = attribute_columns(attribute_names(metadata), attributes)
    arguments = {"classifier": metadata["arguments"], "columns": list(columns)}
    reader = nnx.eval_shape(lambda: ChosenAttributes(**arguments, rngs=nnx.Rngs(0)))
    reader.classifier = networks.load_network(path, expected="AttributeClassifier")
    return reader, arguments


class ReadingMethod(nnx.Module):
    """The half of an editing method that reads semantic variables off a face.

    Args:
      semantic_encoder: reads semantic variables off images of `image_size` pixels.
      attributes: names of the semantic variables.
      image_size: side of the semantic encoder's input.
    """

    def __init__(self, semantic_encoder: nnx.Module, attributes: tuple[str, ...], image_size: int):
        self.semantic_encoder = semantic_encoder
        self.attributes = tuple(attributes)
        self.image_size = image_size

    @property
    def reader(self) -> str:
        """What reads the semantic variables, in words."""
        name = type(self.semantic_encoder).__name__
        return READERS.get(name, name)

    @property
    def notes(self) -> dict[str, str]:
        """What the network files say of it, as `load_reader` reads it."""
        return {"attributes": ",".join(self.attributes), "image_size": str(self.image_size)}

    def read(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b a"]:
        """Semantic variables of images in [-1, 1], each in [0, 1]."""
        return self.semantic_encoder(crop_and_resize(images, self.image_size))
