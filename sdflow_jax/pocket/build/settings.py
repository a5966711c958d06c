"""The sizes of the pocket networks, and how each training differs from the defaults of its settings."""

from sdflow_jax.pocket.build.autoencoder import AutoencoderSettings
from sdflow_jax.pocket.build.classifiers import ClassifierSettings
from sdflow_jax.pocket.build.identity import IdentitySettings

STYLE_DIM = 128
NUM_STYLES = 10

GENERATOR = {
    "resolution": 64,
    "style_dim": STYLE_DIM,
    "channels": {"4": 128, "8": 128, "16": 96, "32": 48, "64": 24},
    "num_mapping_layers": 4,
}
INVERSION_ENCODER = {
    "image_size": 64,
    "num_styles": NUM_STYLES,
    "style_dim": STYLE_DIM,
    "widths": [24, 24, 48, 96, 128],
    "units": [2, 2, 2, 2],
    "head_width": 32,
    "base_width": 128,
    "offset_scale": 0.3,
}
CLASSIFIER = {
    "depth": 34,
    "num_attributes": 6,
    "num_age_thresholds": 0,
    "width": 16,
    "head_sizes": [],
}
EVALUATION_CLASSIFIER = {**CLASSIFIER, "depth": 50}
IDENTITY_ENCODER = {
    "image_size": 64,
    "embedding_dim": 128,
    "widths": [16, 16, 32, 64, 96],
    "units": [2, 2, 2, 2],
}

# The teacher's seeds that are rendered and searched for faces. Annotated seeds outside are added.
SEED_RANGES = ((0, 27_000), (56_000, 58_000), (60_000, 63_000))

# C and its judge, on faces and reconstructions.
CLASSIFIERS = {
    "classifier": ClassifierSettings(
        CLASSIFIER, parity=0, seed=2, num_steps=500, learning_rate=5e-4
    ),
    "evaluation_classifier": ClassifierSettings(
        EVALUATION_CLASSIFIER, parity=1, seed=3, num_steps=700
    ),
}

ENCODER_TRAINING = AutoencoderSettings(
    "encoder",
    num_steps=4000,
    batch_size=32,
    kernel_rate=5e-3,
    frozen_stages=1,
    final_fraction=0.02,
)
GENERATOR_TRAINING = AutoencoderSettings(
    "generator", num_steps=400, seed=15, momentum=0.5, average_decay=0.995
)
IDENTITY = IdentitySettings(IDENTITY_ENCODER, num_faces=1500, num_steps=700)
