"""Pictures of a folder with what is known of them, in splits: random access for training."""

import concurrent.futures
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int8

from sdflow_jax.data.attribute_labels import UNKNOWN, AttributeLabels, read_labels
from sdflow_jax.data.file_digests import FileDigests, Stamp, stamp_of
from sdflow_jax.data.findings import Findings
from sdflow_jax.data.image_folder import image_files, read_face
from sdflow_jax.data.image_source import CONTENT, SPLITS, DataError
from sdflow_jax.data.labeled_settings import LabeledSettings
from sdflow_jax.data.partition import read_partition, split_by_name
from sdflow_jax.files.bars import Bar

# What the alignment of a photo with one face calls it: `a/b.jpg` becomes `a/b.jpg-1.png`.
_ALIGNED, _ALIGNED_SECOND = "-1.png", "-2.png"


class LabeledPictures:
    """The faces of one split: `len(faces)`, and `faces[i]` = {"image", "labels"}.

    "image" is uint8 [R, R, 3]; "labels" int8 [k]: 1, 0 or `UNKNOWN`, the attributes first, then
    whether the face is older than each threshold.

    Args:
      files: the pictures.
      labels: a row for each of them, [n, k].
      crop: (top, left, side) in pixels of what is cut out of each, or nothing.
      image_size: R, to which that is resampled (bilinear, antialiased).
    """

    def __init__(
        self,
        files: Sequence[pathlib.Path],
        labels: Int8[np.ndarray, "n k"],
        *,
        crop: Sequence[int],
        image_size: int,
    ):
        self.files, self.labels = tuple(files), labels
        self._crop, self._image_size = tuple(crop), image_size
        self._stamps: dict[pathlib.Path, Stamp] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> dict[str, np.ndarray]:
        """One face.

        Raises:
          DataError: naming its file, if that cannot be read, has been changed since its digest was
            taken, is not square, or does not reach as far as the crop.
        """
        file = self.files[place]
        if file in self._stamps and stamp_of(file) != self._stamps[file]:
            raise DataError(f"{file} has been changed since it was first read; begin again")
        image = read_face(file, self._image_size, crop=self._crop)
        return {"image": image, "labels": self.labels[place]}

    def digests(self, known: FileDigests, *, num_threads: int) -> list[str]:
        """What each file holds.

        Raises:
          DataError: naming a file that cannot be read.
        """
        self._stamps = {file: stamp_of(file) for file in self.files}
        return known.of(self.files, num_threads=num_threads)


def open_labeled_pictures(
    data: LabeledSettings, attributes: Sequence[str], age_thresholds: Sequence[float]
) -> tuple[dict[str, LabeledPictures], tuple[str, ...]]:
    """The labeled faces of a config.

    Args:
      data: where they are.
      attributes: those to learn; none means all that are labeled.
      age_thresholds: ages in years, for a label "older than" each; needs `data.age_column`.

    Returns:
      split -> its faces, of the splits that have some, and the names of the attributes.

    Raises:
      DataError: if the labels, the partition and the folder do not fit each other, each mistake with
        its count and the first few names; if nothing is left to train or to validate with; or if a
        question has not both answers in either of these splits.
    """
    labels = read_labels(data.labels, attributes, age_column=data.age_column)
    labels, files = _with_pictures(labels, data)
    split_of = _splits(labels.images, data)
    answers = _answers(labels, age_thresholds)
    faces = {}
    for split in SPLITS:
        rows = [row for row, name in enumerate(labels.images) if split_of[name] == split]
        if rows:
            faces[split] = LabeledPictures(
                [files[row] for row in rows],
                answers[rows],
                crop=data.crop,
                image_size=data.image_size,
            )
    _check_answers(faces, (*labels.attributes, *names_of_thresholds(age_thresholds)))
    return faces, labels.attributes


def names_of_thresholds(age_thresholds: Sequence[float]) -> tuple[str, ...]:
    """What the answers about age are called: `older_than_40`."""
    return tuple(f"older_than_{years:g}" for years in age_thresholds)


def describe_pictures(
    faces: Mapping[str, LabeledPictures], data: LabeledSettings, directory: str | os.PathLike[str]
) -> dict[str, Any]:
    """JSON-able facts that determine what is learned from and chosen by: the pictures' content, in its
    order, and the labels. Says on the way if a picture is in both.

    Args:
      faces: as by `open_labeled_pictures`.
      data: how they are read.
      directory: where the digests of the pictures are kept.

    Raises:
      DataError: naming a file that cannot be read.
    """
    known, content, seen = FileDigests(directory), {}, {}
    for split in ("train", "validation"):
        found = faces[split].digests(known, num_threads=data.num_threads)
        total = hashlib.sha256("".join(found).encode())
        total.update(np.ascontiguousarray(faces[split].labels))
        content[split], seen[split] = total.hexdigest()[:16], set(found)
    if both := len(seen["train"] & seen["validation"]):
        print(f"note: {both} pictures of the validation split are in the train split as well")
    return {
        "kind": "labeled",
        "crop": list(data.crop),
        "image_size": data.image_size,
        CONTENT: content,
    }


def check_pictures(faces: Mapping[str, LabeledPictures], data: LabeledSettings) -> None:
    """Read every picture once, so that none ends a training that has long been under way.

    Args:
      faces: as by `open_labeled_pictures`.
      data: how they are read.

    Raises:
      DataError: with the count and the first few of those that cannot be read, are not square, or do
        not reach as far as the crop.
    """

    def complaint_of(split: str, place: int) -> str | None:
        try:
            faces[split][place]
        except DataError as error:
            return str(error)
        return None

    findings = Findings(data.folder)
    places = [(split, place) for split in faces for place in range(len(faces[split]))]
    with (
        concurrent.futures.ThreadPoolExecutor(data.num_threads) as pool,
        Bar(total=len(places), desc="trying images", unit="file", delay=2) as bar,
    ):
        for complaint in pool.map(complaint_of, *zip(*places, strict=True)):
            if complaint:
                findings.add("pictures are not as they must be", complaint)
            bar.update()
    findings.finish()


def _with_pictures(
    labels: AttributeLabels, data: LabeledSettings
) -> tuple[AttributeLabels, list[pathlib.Path]]:
    """The labels whose pictures are there, and those pictures."""
    find = _finder(image_files(data.folder), pathlib.Path(data.folder))
    found = [find(name) for name in labels.images]
    missing = [name for name, file in zip(labels.images, found, strict=True) if file is None]
    if missing and data.missing_images == "refuse":
        findings = Findings(data.labels)
        for name in missing:
            findings.add(
                f"of {len(found)} images are not in {data.folder} (whoever means to do without says"
                " config.data.missing_images=leave_out)",
                name,
            )
        findings.finish()
    if missing:
        print(f"{len(missing)} of {len(found)} labeled images are not in {data.folder}: left out")
    _check_apart(labels.images, found, data)
    rows = [row for row, file in enumerate(found) if file is not None]
    return labels.take(rows), [found[row] for row in rows]


def _check_apart(
    images: Sequence[str], files: Sequence[pathlib.Path | None], data: LabeledSettings
) -> None:
    """Whether no picture is meant by two names, as `a.jpg` and `a.png` both can mean `a.png`."""
    findings = Findings(data.labels)
    meant: dict[pathlib.Path, str] = {}
    for name, file in zip(images, files, strict=True):
        if file is not None and meant.setdefault(file, name) != name:
            findings.add("images are the same file as another", f"{name} and {meant[file]}")
    findings.finish()


def _finder(
    files: Sequence[pathlib.Path], folder: pathlib.Path
) -> Callable[[str], pathlib.Path | None]:
    """name -> file: under that name, as the only face that the alignment found in it, or in another
    format.
    """
    paths = {file.relative_to(folder).as_posix(): file for file in files}
    stems: dict[str, list[pathlib.Path]] = {}
    for path, file in paths.items():
        stems.setdefault(_stem(path), []).append(file)

    def find(name: str) -> pathlib.Path | None:
        if name in paths:
            return paths[name]
        if name + _ALIGNED in paths:  # of two faces nobody knows which was labeled
            return None if name + _ALIGNED_SECOND in paths else paths[name + _ALIGNED]
        alike = stems.get(_stem(name), [])
        return alike[0] if len(alike) == 1 else None

    return find


def _stem(path: str) -> str:
    return pathlib.PurePosixPath(path).with_suffix("").as_posix()


def _splits(images: Sequence[str], data: LabeledSettings) -> dict[str, str]:
    if not data.partition:
        return split_by_name(images, data.validation_share)
    split_of = read_partition(data.partition)
    findings = Findings(data.partition)
    for name in images:
        if name not in split_of:
            findings.add(f"labeled images (of {data.labels}) are in no split", name)
    findings.finish()
    return split_of


def _answers(labels: AttributeLabels, age_thresholds: Sequence[float]) -> Int8[np.ndarray, "n k"]:
    if not age_thresholds:
        return labels.values
    years = labels.years[:, None]
    older = np.where(np.isnan(years), UNKNOWN, years > np.asarray(age_thresholds)[None])
    return np.concatenate([labels.values, older.astype(np.int8)], axis=1)


def _check_answers(faces: Mapping[str, LabeledPictures], names: Sequence[str]) -> None:
    """Whether every question has both answers, where it is learned and where it is measured."""
    complaints = []
    for split in ("train", "validation"):
        if split not in faces:
            complaints.append(f"no labeled image is in the {split} split")
            continue
        for answer, word in ((1, "has"), (0, "has not")):
            lacking = ~(faces[split].labels == answer).any(0)
            if lacking.any():
                which = [name for name, lacks in zip(names, lacking, strict=True) if lacks]
                complaints.append(
                    f"no face of the {split} split {word} {', '.join(which)}: choose other"
                    " config.attributes or config.age_thresholds, or add such faces"
                )
    if complaints:
        raise DataError("\n".join(complaints))
