"""Faces and landmarks by dlib: its frontal detector, and its 68 points, which FFHQ's alignment used.

The package `dlib-bin` brings the detector, `face-recognition-models` the landmarks; both come with
the extra `align`.
"""

import importlib.util
import pathlib
import threading

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sdflow_jax.align.finders import FoundFace
from sdflow_jax.align.geometry import AlignError, FacePoints

_LANDMARKS = "models/shape_predictor_68_face_landmarks.dat"
_INSTALL = "pip install 'sdflow_jax[align]'"

# The detector's smallest face has 80 pixels. Photos are shown to it at this size, so that the time
# does not depend on the camera; where it finds nothing it looks again at twice of it.
_LONGER_SIDE = 1600
_LARGEST_ENLARGEMENT = 2.0
# Badges and folds of clothes score up to 0.1, faces that look into the camera 1 and more.
_LEAST_SCORE = 0.2


class DlibFinder:
    """Finds faces that look into the camera, of about a twentieth of the photo's longer side and
    more; of half that where there is no larger one.

    Raises:
      AlignError: if a package is not installed; says how to install it.
    """

    version = f"frontal detector at {_LONGER_SIDE} above {_LEAST_SCORE}, 68 landmarks"

    def __init__(self):
        try:
            import dlib
        except ImportError as error:
            raise AlignError(f"finding faces needs dlib; `{_INSTALL}` installs it") from error
        self._dlib = dlib
        self._landmarks = dlib.shape_predictor(str(_landmarks_file()))
        self._of_thread = threading.local()  # a detector keeps the picture that it looks at

    def __call__(self, photo: UInt8[np.ndarray, "h w 3"]) -> list[FoundFace]:
        longer = max(photo.shape[:2])
        usual = min(1.0, _LONGER_SIDE / longer)
        closer = min(_LARGEST_ENLARGEMENT, 2 * _LONGER_SIDE / longer)
        return self._find(photo, usual) or self._find(photo, closer)

    def _find(self, photo: np.ndarray, scale: float) -> list[FoundFace]:
        if not hasattr(self._of_thread, "detect"):
            self._of_thread.detect = self._dlib.get_frontal_face_detector()
        height, width = photo.shape[:2]
        shown = photo
        if scale != 1.0:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            shown = np.array(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR))
        boxes, scores, _ = self._of_thread.detect.run(np.ascontiguousarray(shown), 0, _LEAST_SCORE)
        return [
            self._face(photo, box, score, width / shown.shape[1])
            for box, score in zip(boxes, scores, strict=True)
        ]

    def _face(self, photo: np.ndarray, box, score: float, factor: float) -> FoundFace:
        ends = [x * factor for x in (box.left(), box.top(), box.right(), box.bottom())]
        # The landmarks are sought in the photo itself: they are its whole pixels.
        place = self._dlib.rectangle(*map(round, ends))
        shape = self._landmarks(np.ascontiguousarray(photo), place)
        landmarks = np.array([(point.x, point.y) for point in shape.parts()], np.float64)
        return FoundFace(FacePoints.of_landmarks(landmarks), tuple(ends), float(score))


def _landmarks_file() -> pathlib.Path:
    """Found without importing the package, which asks for more than is needed here."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is not None and spec.origin is not None:
        file = pathlib.Path(spec.origin).parent / _LANDMARKS
        if file.exists():
            return file
    raise AlignError(
        f"finding landmarks needs the package face-recognition-models; `{_INSTALL}` installs it"
    )
