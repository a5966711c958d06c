"""What `python -m sdflow_jax.edit` does to photos."""

import argparse
import dataclasses
import functools
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Float, UInt8

from sdflow_jax.align.cutting import cut_face
from sdflow_jax.align.faces import choose_faces, find_faces
from sdflow_jax.align.finders import FaceFinder, load_finder
from sdflow_jax.align.geometry import AlignError, FaceSquare
from sdflow_jax.align.pasting import paste
from sdflow_jax.align.progress import Progress
from sdflow_jax.edit.loading import AnyEditor, load_editor
from sdflow_jax.edit.prepared import PreparedEditor
from sdflow_jax.files.pictures import comment_of, write_png
from sdflow_jax.files.words import in_words
from sdflow_jax.images.grids import labeled_rows
from sdflow_jax.images.listing import passed_over
from sdflow_jax.images.pixels import to_bytes
from sdflow_jax.images.reading import (
    ImageFileError,
    center_crop,
    openable_suffixes,
    read_image,
    resize_square,
    rgb_profile,
)

_COMMENT = "edited with sdflow_jax"  # in every picture: it says so, and what has it may be replaced
STRIP = (0.0, 0.25, 0.5, 0.75, 1.0)  # targets of a strip's faces


class EditError(ValueError):
    """What was asked for cannot be done; the message is one line."""


# What goes wrong with one photo, and leaves the others.
_PHOTO_ERRORS = (
    *(ImageFileError, AlignError, EditError, FloatingPointError, OSError),
    MemoryError,  # too large a picture for this machine, as some of the next are
    RuntimeError,  # XLA's, and what finders of faces raise
)


def edit_all(arguments: argparse.Namespace) -> int:
    """Edit the photos of a command line; returns the exit status, 1 if one could not be edited.

    Args:
      arguments: of `sdflow_jax.edit.__main__`.

    Raises:
      EditError: if nothing at all can be done as asked.
      ValueError, OSError: if networks cannot be loaded, or nothing can be written.
    """
    targets = dict(arguments.set)
    if not targets and not arguments.strip:
        raise EditError("nothing to do; give --set ATTRIBUTE=VALUE, or --strip ATTRIBUTE")
    _check_alignment(arguments)
    photos = photos_of(arguments.photos)
    keep = _Kept.of(photos, arguments.out)
    outputs = _outputs(photos, arguments, keep)
    arguments.out.mkdir(parents=True, exist_ok=True)  # told before the work if it cannot be
    finder = load_finder("dlib") if arguments.align else None
    # A refinement needs the networks themselves, and faces to paste have sizes of their own.
    is_plain = not arguments.num_steps and (arguments.size is not None or not arguments.paste)
    asked = [*targets, *filter(None, [arguments.strip])]
    editor = load_editor(
        arguments.workdir,
        arguments.size,
        may_prepare=is_plain,
        check=lambda editor: _check(editor, asked, arguments.size),
        report=functools.partial(print, flush=True),
    )
    work = _Work(editor, finder, targets, arguments, frozenset(outputs), keep)
    if not arguments.num_steps:
        print("not refined, so the person may be lost; --num-steps 100 keeps more", flush=True)
    num_failed = 0
    for number, (photo, output) in enumerate(zip(photos, outputs, strict=True), 1):
        progress = f"{number}/{len(photos)} {photo}"
        try:
            written = work.edit(photo, output)
        except _PHOTO_ERRORS as error:
            message = _told(error)
            about = "" if str(photo) in message else f"{photo}: "
            print(f"error: {about}{message}", file=sys.stderr)
            num_failed += 1
        else:
            print(f"{progress} -> {', '.join(map(str, written))}", flush=True)
            if isinstance(editor, PreparedEditor):
                editor.keep()
    if num_failed:
        print(f"{num_failed} of {len(photos)} photos could not be edited", file=sys.stderr)
    return int(num_failed > 0)


def _told(error: Exception) -> str:
    if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
        return str(error).partition("\n")[0]
    if isinstance(error, MemoryError | jax.errors.JaxRuntimeError):
        return "too large for this machine's memory; a smaller --size needs less"
    return in_words(error)


def photos_of(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """The photos that paths stand for: files as they are, of folders the pictures directly in them by
    name, without hidden ones. What else is there is counted in a line on the terminal.

    Raises:
      EditError: if a path does not exist, or a folder holds no photo.
    """
    photos = []
    for path in paths:
        if not path.exists():
            raise EditError(f"{path}: no such file or folder")
        found = [path]
        if path.is_dir():
            files = [f for f in sorted(path.iterdir()) if f.name[0] != "." and not f.is_dir()]
            found = [f for f in files if f.suffix.lower() in openable_suffixes()]
            told = passed_over(f.name for f in files if f.suffix.lower() not in openable_suffixes())
            if not found:
                about = "".join(f"; {line}" for line in told)
                raise EditError(f"{path}: no picture that can be opened in this folder{about}")
            for line in told:
                print(f"{path}: {line}", flush=True)
        photos += found
    return photos


@dataclasses.dataclass(frozen=True)
class _Kept:
    """What no edit may replace: the photos, in a folder of photos all that is there, and elsewhere what no edit has
    made.

    Attributes:
      paths: the photos' real paths.
      files: device and inode of each photo: a disk may know a file by several names, as `A.PNG` and
        `a.png`.
      is_among_photos: whether pictures are written to a folder of one of the photos.
    """

    paths: frozenset[pathlib.Path]
    files: frozenset[tuple[int, int]]
    is_among_photos: bool

    @classmethod
    def of(cls, photos: Sequence[pathlib.Path], out: pathlib.Path) -> "_Kept":
        """For these photos, whose edits go to `out`."""
        place = _file_at(out)
        folders = {folder for photo in photos for folder in (photo.parent, photo.resolve().parent)}
        return cls(
            frozenset(photo.resolve() for photo in photos),
            frozenset(filter(None, map(_file_at, photos))),
            place is not None and place in map(_file_at, folders),
        )

    def check(self, path: pathlib.Path) -> None:
        """Whether a file may be written.

        Raises:
          EditError: if it would replace one of these.
        """
        if path.resolve() in self.paths or _file_at(path) in self.files:
            raise EditError(f"{path} is one of the photos; choose another --out")
        if self.is_among_photos and os.path.lexists(path):
            raise EditError(
                f"{path} is there already, in a folder of the photos; choose another --out"
            )
        if os.path.lexists(path) and comment_of(path) != _COMMENT:
            raise EditError(
                f"{path} is there already, and is no picture that this command has made; choose another --out"
            )


def _file_at(path: pathlib.Path) -> tuple[int, int] | None:
    """What tells a file from all others under whatever name; None if there is none, or its disk has no such numbers."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None


def _outputs(
    photos: Sequence[pathlib.Path], arguments: argparse.Namespace, keep: _Kept
) -> list[pathlib.Path]:
    """Where each edited photo goes; nothing that is kept and no other output may be there."""
    out, strip = arguments.out, arguments.strip
    if out.exists() and not out.is_dir():
        raise EditError(f"--out {out}: this is a file; name a folder")
    written: dict[pathlib.Path, pathlib.Path] = {}
    for photo in photos:
        output = out / f"{photo.stem}.png"
        for path in [output, *([_beside(output, strip)] if strip else [])]:
            if path in written and written[path].resolve() == photo.resolve():
                raise EditError(f"{photo} is given twice")
            if path in written:
                raise EditError(f"{written[path]} and {photo} would both become {path}; rename one")
            keep.check(path)
            written[path] = photo
    return [out / f"{photo.stem}.png" for photo in photos]


def _check(editor: AnyEditor, attributes: Sequence[str], size: int | None) -> None:
    for name in attributes:
        if name not in editor.attributes:
            known = ", ".join(editor.attributes)
            raise EditError(f"unknown attribute {name!r}; this editor knows {known}")
    if size is not None and size not in editor.sizes:
        sizes = ", ".join(map(str, editor.sizes))
        raise EditError(f"--size must be one of {sizes} for these networks, got {size}")


def _check_alignment(arguments: argparse.Namespace) -> None:
    if arguments.align and arguments.crop:
        raise EditError("--align finds the faces, --crop takes the middle; give one of them")
    for name in ("paste", "face"):
        if getattr(arguments, name) and not arguments.align:
            raise EditError(f"--{name} is for the faces that --align finds; give that as well")
    if arguments.paste and not arguments.set:
        raise EditError("--paste needs something to paste; give --set ATTRIBUTE=VALUE")


@dataclasses.dataclass(frozen=True)
class _Work:
    """What is done to every photo.

    Attributes:
      editor: edits.
      finder: finds the faces; None where the photo is the face.
      targets: attribute -> wanted value.
      arguments: of the command line.
      outputs: the files that all the photos become.
      keep: what must not be written over.
      written: file -> the photo that it was made of.
      made: the same by `_file_at`: a disk may know a file by several names.
    """

    editor: AnyEditor
    finder: FaceFinder | None
    targets: Mapping[str, float]
    arguments: argparse.Namespace
    outputs: frozenset[pathlib.Path]
    keep: _Kept
    written: dict[pathlib.Path, pathlib.Path] = dataclasses.field(default_factory=dict)
    made: dict[tuple[int, int], pathlib.Path] = dataclasses.field(default_factory=dict)

    def edit(self, photo: pathlib.Path, output: pathlib.Path) -> list[pathlib.Path]:
        """Edit one photo; returns the files written."""
        pixels = read_image(photo)
        if self.finder is not None:
            pictures = self._edit_found(photo, pixels, output)
        else:
            height, width = pixels.shape[:2]
            if height != width and not self.arguments.crop:
                raise ImageFileError(
                    f"{photo}: {width} x {height} pixels; expected a square photo of an aligned"
                    " face, --align to find the faces, or --crop to cut a square from the middle"
                )
            pictures = _named(output, self._edit_face(center_crop(pixels), self.arguments.size))
        if taken := self.written.keys() & pictures.keys():
            other = self.written[min(taken)]
            raise AlignError(f"{photo}: its faces and {other} would both become {min(taken)}")
        for path in pictures:  # how many faces there are was not known before
            self.keep.check(path)
            place = _file_at(path)
            if place and (other := self.made.get(place)):
                raise EditError(f"{other} and {photo} would both become {path}; rename one")
        # What is not a face looks as it did by the photo's profile; faces alone come without one.
        profile = rgb_profile(photo) if self.arguments.paste else None
        for path, picture in pictures.items():
            profile_of_path = profile if path == output else None
            write_png(path, picture, profile=profile_of_path, comment=_COMMENT)
            self.written[path] = photo
            if place := _file_at(path):
                self.made[place] = photo
        return list(pictures)

    def _edit_found(
        self, photo: pathlib.Path, pixels: UInt8[np.ndarray, "h w 3"], output: pathlib.Path
    ) -> dict[pathlib.Path, np.ndarray]:
        """The pictures of a photo whose faces are to be found."""
        found = find_faces(pixels, self.finder)
        faces, small = choose_faces(found, self.arguments.face)
        for face in small:
            about = f"face {face.number} is too small, {face.square.side:.0f} pixels"
            print(f"note: {photo}: {about}", file=sys.stderr)
        pasted, pictures = pixels, {}
        for face in faces:
            cut = cut_face(pixels, face.square, self.editor.picture_size)
            edits = self._edit_face(cut, self._size_of(face.square))
            name = output if len(found) == 1 else _beside(output, str(face.number))
            if self.arguments.paste:
                others = [other.square for other in found if other is not face]
                pasted = paste(pasted, edits.pop(""), face.square, others=others)
            pictures |= _named(name, edits)
        if taken := self.outputs & pictures.keys() - {output}:
            raise AlignError(f"{photo}: its faces and another photo would become {min(taken)}")
        return {output: pasted, **pictures} if self.arguments.paste else pictures

    def _size_of(self, square: FaceSquare) -> int | None:
        """Side of a face's picture; None for the editor's usual one."""
        if self.arguments.size is not None or not self.arguments.paste:
            return self.arguments.size
        # The smallest that loses nothing where the face is put.
        sizes = self.editor.sizes
        return next((size for size in sizes if size >= square.side), sizes[-1])

    def _edit_face(
        self, pixels: UInt8[np.ndarray, "r r 3"], size: int | None
    ) -> dict[str, np.ndarray]:
        """The edited face under "", the strip under its attribute; what of them was asked for."""
        editor, strip = self.editor, self.arguments.strip
        # As the editor does with files. Arrays it takes as they are, and compiles for every size.
        reduced = resize_square(pixels, editor.picture_size)
        w_plus = self._invert(reduced)

        def picture(wanted: Mapping[str, float]) -> UInt8[np.ndarray, "s s 3"]:
            edited = editor.edit(w_plus, reduced, wanted)
            return to_bytes(editor.synthesize(edited, size=size))

        edits = {}
        if self.targets:
            edits[""] = picture(self.targets)
        if strip:
            others = {name: value for name, value in self.targets.items() if name != strip}
            faces = [picture({**others, strip: target}) for target in STRIP]
            inverted = to_bytes(editor.synthesize(w_plus, size=size))
            original = resize_square(pixels, inverted.shape[0])
            edits[strip] = labeled_rows(
                [strip],
                np.stack([original, inverted, *faces])[None],
                headings=["photo", "inverted", *(f"{target:g}" for target in STRIP)],
            )
        return edits

    def _invert(self, pixels: UInt8[np.ndarray, "r r 3"]) -> Float[np.ndarray, "n d"]:
        """The latents of a face; a refinement, which takes long, shows how far it is."""
        num_steps = self.arguments.num_steps
        if not num_steps:
            return self.editor.invert(pixels)
        progress = Progress(num_steps, 0, "steps of refinement")
        try:
            return self.editor.invert(
                pixels, num_steps=num_steps, report=lambda done, _: progress.reach(done)
            )
        finally:
            progress.end()


def _named(output: pathlib.Path, edits: Mapping[str, np.ndarray]) -> dict[pathlib.Path, np.ndarray]:
    return {_beside(output, name) if name else output: picture for name, picture in edits.items()}


def _beside(output: pathlib.Path, name: str) -> pathlib.Path:
    return output.with_name(f"{output.stem}-{name}.png")
