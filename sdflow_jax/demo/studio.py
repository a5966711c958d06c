"""What the page does with faces, without the page: encoded once, decoded for every edit."""

import dataclasses
import importlib.metadata
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from sdflow_jax.editor import Editor
from sdflow_jax.images.pixels import to_bytes, to_signed
from sdflow_jax.images.reading import resize_square
from sdflow_jax.images.resizing import average_pool

LIVE_SIZE = 256
_QUICK = 0.4  # seconds for an edit: with more, a slider is followed by smaller pictures
_SAME = 0.005  # sliders have two decimals


@jax.jit
def _encode(method, w_plus, images):
    return method.encode(w_plus, images)


@jax.jit
def _decode(method, code, semantic_variables):
    return method.decode(code, semantic_variables)


@dataclasses.dataclass(frozen=True)
class Face:
    """A face that is edited: all that one visitor's page needs to know of it.

    Attributes:
      seed: from which it was sampled; None for a photo.
      photo: as it was given and cropped; None for a sampled face.
      num_steps: by which its inversion was refined.
      code: the method's, of one face.
      given: the semantic variables under which it was encoded: the photo's, or the sampled face's.
      rendered: what the generator makes of the face as it is, at full size.
      measured: the semantic variables of that picture.
    """

    seed: int | None
    photo: UInt8[np.ndarray, "r r 3"] | None
    num_steps: int
    code: Any
    given: Float[np.ndarray, " a"]
    rendered: UInt8[np.ndarray, "s s 3"]
    measured: Float[np.ndarray, " a"]


@dataclasses.dataclass(frozen=True)
class Edit:
    """An edited face.

    Attributes:
      picture: of `LIVE_SIZE`, or the full size.
      measured: the semantic variables that the picture has.
    """

    picture: UInt8[np.ndarray, "s s 3"]
    measured: Float[np.ndarray, " a"]


class Studio:
    """Edits faces for any number of visitors; it keeps nothing of any of them.

    Semantic variables are always read from the generator's own picture, as in `Editor`; what is
    seen is the renderer's where there is one.

    Args:
      editor: with a batch size of 1, so that no face is computed twice.
      is_quick: whether the renderer is fast enough to follow a slider; otherwise that shows the
        generator's smaller picture, and the renderer's when the slider rests. None measures it in
        `warm_up`.
    """

    def __init__(self, editor: Editor, *, is_quick: bool | None = None):
        self.editor = editor
        self.full_size = editor.sizes[-1]
        self.live_size = min(LIVE_SIZE, self.full_size)
        self._is_quick = is_quick

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the semantic variables."""
        return self.editor.attributes

    @property
    def takes_photos(self) -> bool:
        """Whether photos can be inverted."""
        return self.editor.inversion_encoder is not None

    @property
    def measurement(self) -> str:
        """By what faces are measured, and in which pictures of them, in words."""
        size = self.editor.generator.resolution
        return f"Measured by the {self.editor.method.reader} in pictures of {size} pixels; 0 to 1"

    def sample(self, seed: int) -> Face:
        """The generator's random face of a seed."""
        # One row stands for all styles, and is edited for less.
        w_plus = self.editor.codes_of_seeds(seed)[:1]
        return self._face(w_plus, self._small_picture(w_plus), seed=seed)

    def invert(
        self,
        photo: UInt8[np.ndarray, "r r 3"],
        *,
        num_steps: int = 0,
        report: Callable[[int, int], None] | None = None,
    ) -> Face:
        """The face of a photo, as `prepare_photo` gives it; the rest is as in `Editor.invert`."""
        size = self.editor.picture_size
        reduced = resize_square(photo, size)
        w_plus = self.editor.invert(reduced, num_steps=num_steps, report=report)
        return self._face(w_plus, reduced, photo=photo, num_steps=num_steps)

    def sliders(self, face: Face) -> tuple[float, ...]:
        """Where the sliders stand for a face as it is."""
        return tuple(round(float(value), 2) for value in face.given)

    def targets(self, face: Face, sliders: Sequence[float]) -> dict[str, float]:
        """What is asked for: the attributes whose sliders have been moved.

        Raises:
          ValueError: if a slider has no value.
        """
        moved = {}
        for name, value, start in zip(self.attributes, sliders, self.sliders(face), strict=True):
            if not (isinstance(value, int | float) and math.isfinite(value)):
                raise ValueError(f"{name} needs a number")
            if abs(value - start) > _SAME:
                moved[name] = round(float(value), 4)
        return moved

    def edit(self, face: Face, targets: Mapping[str, float], size: int) -> Edit:
        """A face with some semantic variables set.

        Args:
          face: of this studio.
          targets: attribute name -> wanted value.
          size: side of the picture, `live_size` or `full_size`.

        Raises:
          FloatingPointError: if the flow cannot be solved for these targets.
        """
        if size == self.full_size and not targets:
            return Edit(face.rendered, face.measured)
        w_plus, small, measured = self._edited(face, targets)
        return Edit(self._picture(w_plus, small, size), measured)

    def follow(self, face: Face, targets: Mapping[str, float]) -> Edit:
        """The same for a slider that moves: at `live_size`, or less where that would take too long."""
        w_plus, small, measured = self._edited(face, targets)
        if self._is_quick:
            return Edit(self._picture(w_plus, small, self.live_size), measured)
        return Edit(to_bytes(_at_most(small, self.live_size)), measured)

    def notes(self, face: Face, targets: Mapping[str, float], edit: Edit) -> dict[str, Any]:
        """What an edited picture was made with, for its file."""

        def values(measured):
            pairs = zip(self.attributes, measured, strict=True)
            return {name: round(float(value), 4) for name, value in pairs}

        return {
            "version": importlib.metadata.version("sdflow_jax"),
            "seed": face.seed,
            "refinement_steps": face.num_steps,
            "targets": dict(targets),
            "measured_before": values(face.measured),
            "measured": values(edit.measured),
            "edited": "This picture of a face was generated or edited by a program.",
        }

    def warm_up(self, report: Callable[[str], None] = lambda line: None) -> None:
        """Compile what a visitor would otherwise wait for, and see how fast it is here."""
        report("sampling and editing")
        face = self.sample(0)
        targets = {self.attributes[0]: 1.0}
        self.edit(face, targets, self.live_size)
        if self.takes_photos:
            report("inverting")
            self.follow(self.invert(face.rendered), targets)
        if self._is_quick is None:
            self._is_quick = min(self._seconds_of_edit(face, targets) for _ in range(3)) < _QUICK

    def _seconds_of_edit(self, face: Face, targets: Mapping[str, float]) -> float:
        start = time.perf_counter()
        self.edit(face, targets, self.live_size)
        return time.perf_counter() - start

    def warm_up_refinement(self) -> None:
        """Compile the refinement, which takes longest and is asked for last."""
        if self.takes_photos:
            size = self.editor.picture_size
            grey = np.zeros((size, size, 3), np.float32)
            # Of five steps one is the renderer's, where there is one.
            self.editor.invert(grey, num_steps=5, report=lambda done, steps: None)

    def thumbnail(self, seed: int, size: int) -> UInt8[np.ndarray, "s s 3"]:
        """A small picture of a seed's face."""
        w_plus = self.editor.codes_of_seeds(seed)[:1]
        return to_bytes(_at_most(self._small_picture(w_plus), size))

    def _face(self, w_plus, picture, *, seed=None, photo=None, num_steps=0) -> Face:
        if picture.dtype == np.uint8:
            picture = np.asarray(to_signed(picture))
        code, given = jax.device_get(_encode(self.editor.method, w_plus[None], picture[None]))
        if not all(np.isfinite(part).all() for part in jax.tree.leaves(code)):
            raise FloatingPointError("The flow could not be solved for this face; try another.")
        small = self._small_picture(w_plus)
        rendered = self._picture(w_plus, small, self.full_size)
        return Face(seed, photo, num_steps, code, given[0], rendered, self.editor.read(small))

    def _edited(self, face, targets):
        """The latents of an edited face, the generator's picture of them, and what is read from it."""
        wanted = face.given.copy()
        for name, value in targets.items():
            wanted[self.attributes.index(name)] = value
        w_plus = jax.device_get(_decode(self.editor.method, face.code, wanted[None]))[0]
        if not np.isfinite(w_plus).all():
            raise FloatingPointError(
                "The flow could not be solved for these values; choose them closer to 0 and 1."
            )
        small = self._small_picture(w_plus)
        return w_plus, small, self.editor.read(small)

    def _small_picture(self, w_plus) -> Float[np.ndarray, "r r 3"]:
        """The generator's own picture of one face, from which semantic variables are read."""
        return self.editor.generate(self._rows(w_plus))

    def _picture(self, w_plus, small, size) -> UInt8[np.ndarray, "s s 3"]:
        """The renderer's picture at a size, or the generator's own, if there is no renderer."""
        if self.editor.renderer is None:
            return to_bytes(_at_most(small, size))
        return to_bytes(self.editor.synthesize(self._rows(w_plus), size=size))

    def _rows(self, w_plus) -> Float[np.ndarray, "n d"]:
        """All rows, so that pictures of photos and of samples run the same compiled code."""
        return np.broadcast_to(w_plus, (self.editor.generator.num_styles, w_plus.shape[-1]))


def _at_most(picture: Float[np.ndarray, "r r 3"], size: int) -> Float[np.ndarray, "s s 3"]:
    """A picture reduced by a whole factor if it is larger than a size."""
    factor = -(-picture.shape[0] // size)
    return np.asarray(average_pool(picture[None], factor)[0]) if factor > 1 else picture
