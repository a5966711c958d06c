"""The sizes of the pocket networks, the faces of the build, and how each network was trained."""

import numpy as np

from sdflow_jax.pocket.build.classifiers import ClassifierSettings
from sdflow_jax.pocket.build.codes import FREE_SEEDS
from sdflow_jax.pocket.build.identity import IdentitySettings
from sdflow_jax.pocket.build.inversion import InversionSettings
from sdflow_jax.pocket.build.student import StudentSettings

# Seeds with a face in the world: to train, to choose settings by, to measure.
TRAINING_SEEDS = np.arange(0, 40_000)
VALIDATION_SEEDS = np.arange(56_000, 56_500)
TEST_SEEDS = np.arange(60_000, 61_000)
# Codes besides, which teach the student and the inversion encoder what W+ looks like.
FREE = np.arange(FREE_SEEDS, FREE_SEEDS + 50_000)

STUDENT = StudentSettings(
    {
        "resolution": 128,
        "channels": {"4": 512, "8": 512, "16": 512, "32": 384, "64": 192, "128": 96},
    },
    num_steps=18_700,
    learning_rate=1.5e-3,
)
INVERSION = InversionSettings(
    {
        "image_size": 128,
        "num_styles": 18,
        "style_dim": 512,
        "widths": [24, 32, 64, 128, 160],
        "units": [2, 2, 2, 2],
        "head_width": 24,
        "base_width": 160,
        "offset_scale": 0.3,
    },
    num_steps=2000,
)

_CLASSIFIER = {
    "depth": 34,
    "num_attributes": 6,
    "num_age_thresholds": 0,
    "width": 16,
    "head_sizes": [],
}
CLASSIFIERS = {
    "classifier": ClassifierSettings(_CLASSIFIER, parity=0, seed=2, num_steps=7600, batch_size=256),
    "evaluation_classifier": ClassifierSettings(
        {**_CLASSIFIER, "depth": 18, "width": 24},
        parity=1,
        seed=3,
        num_steps=10_900,
        batch_size=256,
    ),
}
IDENTITY = IdentitySettings(
    {
        "image_size": 48,
        "embedding_dim": 128,
        "widths": [24, 24, 48, 96, 128],
        "units": [2, 2, 2, 2],
    },
    num_steps=7800,
    batch_size=256,
    crop=(9, 8),
)
# All faces share most of dlib's embedding, which leaves the cosine of two people at 0.87 and a network little to
# learn from. Without a share of the mean it is 0.20, and still ranks pairs as dlib's does (Spearman 0.94; without
# all of the mean 0.82).
MEAN_SHARE = 0.8
