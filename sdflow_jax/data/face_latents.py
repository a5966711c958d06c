"""The training data: faces with their latents and predicted attributes, as a tensorflow-datasets
data set.

The networks that make it are frozen, so each face passes through them once: `w_plus` from the
inversion encoder and `predictions` from the training classifier, unless the source knows them, are
stored beside it.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, SupportsIndex

import jax
import numpy as np
import tensorflow_datasets as tfds
from flax import nnx
from jaxtyping import Array, Float, Int64, UInt8
from PIL import Image

from sdflow_jax.data.annotation_cache import AnnotationCache
from sdflow_jax.data.image_source import (
    CONTENT,
    SPLITS,
    DataError,
    FaceBatch,
    ImageSource,
    LabeledSource,
    LatentSource,
)
from sdflow_jax.files import networks
from sdflow_jax.files.attribute_names import attribute_names
from sdflow_jax.files.bars import Bar
from sdflow_jax.files.lock import locked
from sdflow_jax.images.batching import pad_batch
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.images.precision import in_float32

VERSION = "1.0.0"

_AS_THEY_ARE = tfds.core.decode.DeserializeMethod.RAW_BYTES

Annotate = Callable[
    [Int64[np.ndarray, "b"], UInt8[np.ndarray, "b h w 3"]],
    tuple[Float[Array, "b n d"], Float[Array, "b a"]],
]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that determines the content of the data set; JSON-able, and hashed into its
    directory's name.

    Attributes:
      source: what determines the images.
      num_faces: faces per split.
      image_size: side of the stored images in pixels.
      latent_shape: (rows, style dimension) of `w_plus`; one row where it stands for all styles.
      attributes: names of the columns of `predictions`.
      networks: role -> digest of the network file, of those that annotate.
    """

    source: Mapping[str, Any]
    num_faces: Mapping[str, int]
    image_size: int
    latent_shape: tuple[int, int]
    attributes: tuple[str, ...]
    networks: Mapping[str, str]

    @property
    def name(self) -> str:
        """Twelve hexadecimal digits that change with the content."""
        return _short_digest(self.to_json())

    @property
    def name_without_content(self) -> str:
        """Twelve hexadecimal digits that stay where only the files' content changes."""
        plain = self.to_json()
        plain["source"].pop(CONTENT, None)
        return _short_digest(plain)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


class _UnpublishedInfo(tfds.core.DatasetInfo):
    """Of a data set of which no bucket knows. Left alone, tfds asks one, and leaves an empty directory among the
    temporary ones.
    """

    def initialize_from_bucket(self) -> None:
        """Do nothing."""


class FaceLatents(tfds.core.GeneratorBasedBuilder):
    """The tensorflow-datasets builder that `prepare` makes and runs; use that.

    Every face of the data set has `image`, uint8 [R, R, 3], stored as PNG; `w_plus`, float32 [n, d];
    `predictions`, float32 [a], each in [0, 1]; and `face_id`, int64, which tells it from the other
    faces of its source.

    Args:
      recipe: what the content follows from.
      source: the faces.
      annotate: 8-bit images [b, R, R, 3] to their `w_plus` and `predictions`.
      batch_size: faces per call of `annotate`.
      data_dir: where the data set is built, in a directory that the recipe names.
    """

    VERSION = tfds.core.Version(VERSION)
    # Nothing is downloaded; left alone, tfds searches for checksums with importlib_resources, which
    # it does not install.
    url_infos = None

    def __init__(
        self,
        *,
        recipe: Recipe,
        source: ImageSource,
        annotate: Annotate,
        batch_size: int,
        data_dir: str,
    ):
        self._recipe = recipe
        self._source = source
        self._annotate = annotate
        self._batch_size = batch_size
        config = tfds.core.BuilderConfig(
            name=recipe.name, version=VERSION, description="faces and latents"
        )
        super().__init__(data_dir=data_dir, config=config, file_format="array_record")
        # A picture that was mended makes another data set, of batches that are mostly the same.
        self.kept = AnnotationCache(
            pathlib.Path(data_dir) / f"annotated-{recipe.name_without_content}"
        )

    def _info(self) -> tfds.core.DatasetInfo:
        size, attributes = self._recipe.image_size, self._recipe.attributes
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(size, size, 3)),
                "w_plus": tfds.features.Tensor(shape=self._recipe.latent_shape, dtype=np.float32),
                "predictions": tfds.features.Tensor(shape=(len(attributes),), dtype=np.float32),
                "face_id": tfds.features.Scalar(np.int64),
            }
        )
        return _UnpublishedInfo(
            builder=self,
            description="Aligned faces, their W+ latents and the attributes a classifier predicts.",
            features=features,
            metadata=tfds.core.MetadataDict(self._recipe.to_json()),
            # The training pipeline shuffles; kept in order, the faces are written only once.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        present = [name for name in SPLITS if self._recipe.num_faces[name]]
        return {name: self._generate_examples(name) for name in present}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        total = self._recipe.num_faces[split]
        place = 0
        with Bar(total=total, desc=f"{split} faces", unit="face", mininterval=1.0) as progress:
            batches = _rebatch(self._source.split(split), self._batch_size)
            for ids, images, w_plus, predictions in _annotated(
                batches, self._annotate, self._batch_size, self.kept, split
            ):
                for face_id, image, codes, scores in zip(
                    ids, images, w_plus, predictions, strict=True
                ):
                    yield (
                        place,
                        {
                            "image": _png(image),
                            "w_plus": codes,
                            "predictions": scores,
                            "face_id": int(face_id),
                        },
                    )
                    place += 1
                progress.update(len(ids))
        if place != total:
            raise DataError(f"the image source announced {total} {split} faces and gave {place}")


@in_float32
def prepare(
    directory: str | os.PathLike[str],
    source: ImageSource | LatentSource,
    *,
    description: Mapping[str, Any],
    inversion_encoder: str | None,
    classifier: str,
    batch_size: int = 64,
) -> pathlib.Path:
    """Build the data set below `directory`, or find it there already built from the same source and
    networks.

    One that is found is named in a line. The directory appears whole or not at all. Beside it stand
    the annotated batches of a build that was killed or met a face it could not read; the next build
    passes only the other faces through the networks, and removes the batches when the data set is
    whole.

    Args:
      directory: may hold several data sets, told apart by their recipes.
      source: the faces.
      description: JSON-able facts that determine the faces; other facts make another data set.
      inversion_encoder: network file whose network maps images to `w_plus`; None for a
        `LatentSource`.
      classifier: network file whose network maps images to attribute probabilities; not read for a
        `LabeledSource`.
      batch_size: faces per pass through the networks; a build that continues with another one begins
        anew.

    Returns:
      The data set's own directory, for `open_split`.

    Raises:
      DataError: if a face cannot be read, or the source does not give what it has announced.
      InUseError: if another process is building below `directory`.
      OSError: if the disk is full or may not be written.
    """
    is_labeled = isinstance(source, LabeledSource)
    annotators = {} if is_labeled else {"classifier": classifier}
    if inversion_encoder is None:
        image_size, latent_shape = source.image_size, source.latent_shape
    else:
        annotators["inversion_encoder"] = inversion_encoder
        metadata = networks.read_metadata(inversion_encoder)
        encoder = networks.build_abstract(metadata["network"], metadata["arguments"])
        image_size, latent_shape = encoder.image_size, (encoder.num_styles, encoder.style_dim)
    recipe = Recipe(
        source=description,
        num_faces={name: source.num_faces(name) for name in SPLITS},
        image_size=image_size,
        latent_shape=latent_shape,
        attributes=(
            source.attributes if is_labeled else attribute_names(networks.read_metadata(classifier))
        ),
        networks={role: networks.digest(file) for role, file in annotators.items()},
    )
    root = pathlib.Path(directory).expanduser().absolute()
    builder = FaceLatents(
        recipe=recipe,
        source=source,
        annotate=_annotator(source, inversion_encoder, None if is_labeled else classifier),
        batch_size=batch_size,
        data_dir=str(root),
    )
    path = pathlib.Path(builder.data_dir)
    if path.exists():
        print(f"using the faces again that are in {path}")
        if builder.kept.is_of(recipe.name):  # a kill has come between the last face and here
            builder.kept.remove()
        return path
    with locked(root, "building a data set"):
        # Where tfds builds; it clears up itself, but for a kill that python does not notice.
        for leftover in path.parent.glob(f"incomplete.*_{path.name}"):
            shutil.rmtree(leftover, ignore_errors=True)
        builder.kept.begin(recipe.name)
        tfds.disable_progress_bar()  # its bar knows no total; _generate_examples has one that does
        # It announces downloads, and there are none.
        with contextlib.redirect_stdout(None), _records_told(path):
            builder.download_and_prepare()
        builder.kept.remove()
    return path


def open_split(dataset: str | os.PathLike[str], split: str, fields: Collection[str] | None = None):
    """Random access to one split of a prepared data set: `len(faces)`, `faces[i]["w_plus"]`.

    Args:
      dataset: its directory.
      split: which.
      fields: those that the faces shall have, some of `image`, `w_plus`, `predictions` and `face_id`;
        None for all. A picture that is not asked for is not decoded, and is nearly all of the work.

    Raises:
      DataError: if the split does not exist or has no faces.
    """
    builder = tfds.builder_from_directory(str(dataset))
    if split not in builder.info.splits:
        raise DataError(f"{dataset} has no {split} faces; it has {', '.join(builder.info.splits)}")
    if fields is None:
        return builder.as_data_source(split=split)
    records = builder.as_data_source(split=split, deserialize_method=_AS_THEY_ARE)
    return _FacesInPart(records, builder.info.features, fields)


class _FacesInPart(Sequence):
    """Faces with some of their fields. A data source of tfds decodes all of them, or none."""

    def __init__(
        self, records: Sequence[bytes], features: tfds.features.FeaturesDict, fields: Iterable[str]
    ):
        self._records = records
        self._features = tfds.features.FeaturesDict({name: features[name] for name in fields})

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: SupportsIndex) -> dict[str, Any]:
        return self._features.deserialize_example_np(self._records[place])


def held_out_split(dataset: str | os.PathLike[str]) -> str:
    """The split to watch training on: validation, or the nearest thing to it that the data set has."""
    num_faces = read_recipe(dataset)["num_faces"]
    return next(name for name in ("validation", "test", "train") if num_faces[name])


def read_recipe(dataset: str | os.PathLike[str]) -> dict[str, Any]:
    """The recipe of a prepared data set, as JSON: `read_recipe(path)["attributes"]` names the
    predictions.
    """
    return json.loads((pathlib.Path(dataset) / "metadata.json").read_text())


@contextlib.contextmanager
def _records_told(path: pathlib.Path) -> Iterator[None]:
    """A record that could not be written, of which the writer tells as it tells of mistakes of
    its own, as the disk's error.
    """
    try:
        yield
    except RuntimeError as error:
        if ".array_record" not in str(error):
            raise
        found = re.search(r"failed: ([^;]+);", str(error))
        raise OSError(f"{path} cannot be written: {found[1] if found else error}") from error


def _short_digest(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def _annotator(
    source: ImageSource | LatentSource, inversion_encoder: str | None, classifier: str | None
) -> Annotate:
    """The frozen networks as one compiled function of 8-bit images; without an inversion encoder
    the source gives the latents, without a classifier the predictions.

    They are loaded at its first call: a data set that is there needs neither, nor does a build that
    has kept all its batches.
    """

    @functools.cache
    def load():
        encoder = networks.load_network(inversion_encoder) if inversion_encoder else None
        judge = networks.load_network(classifier) if classifier else None
        graphdef, weights = nnx.split((encoder, judge))

        @jax.jit
        def run(weights, images):
            encoder, judge = nnx.merge(graphdef, weights)
            signed = to_signed(images)
            w_plus = None if encoder is None else encoder(signed)
            return w_plus, None if judge is None else judge.attribute_probabilities(signed)

        return functools.partial(run, nnx.as_pure(weights))

    def annotate(ids, images):
        # What no network is asked for, the source knows.
        w_plus, predictions = load()(images) if inversion_encoder or classifier else (None, None)
        return (
            source.latents(ids) if w_plus is None else w_plus,
            source.predictions(ids) if predictions is None else predictions,
        )

    return annotate


def _rebatch(batches: Iterable[FaceBatch], size: int) -> Iterator[FaceBatch]:
    """The same faces in batches of `size`, but for the last."""
    ids, images = [], []
    for new_ids, new_images in batches:
        ids.extend(new_ids)
        images.extend(new_images)
        while len(ids) >= size:
            yield np.asarray(ids[:size], np.int64), np.stack(images[:size])
            del ids[:size], images[:size]
    if ids:
        yield np.asarray(ids, np.int64), np.stack(images)


def _annotated(
    batches: Iterable[FaceBatch], annotate: Annotate, size: int, kept: AnnotationCache, split: str
) -> Iterator[tuple[np.ndarray, ...]]:
    """Add latents and predictions to batches, one batch ahead so that computing and writing
    overlap; what is computed is kept, and what was kept is not computed.
    """
    waiting: collections.deque = collections.deque()

    def finish():
        name, ids, images, outputs, is_new = waiting.popleft()
        annotations = tuple(np.asarray(output)[: len(ids)] for output in outputs)
        if is_new:
            kept.save(name, ids, images, annotations)
        return ids, images, *annotations

    for number, (ids, images) in enumerate(batches):
        name = f"{split}-{number:06d}"
        outputs = kept.load(name, ids, images)
        is_new = outputs is None
        if is_new:
            # The last batch is filled up, so that one shape is compiled.
            outputs = annotate(*pad_batch((ids, images), size))
        waiting.append((name, ids, images, outputs, is_new))
        if len(waiting) > 1:
            yield finish()
    while waiting:
        yield finish()


def _png(image: UInt8[np.ndarray, "h w 3"]) -> io.BytesIO:
    # Without tensorflow, tfds takes encoded images only.
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=1)
    stream.seek(0)
    return stream
