"""A few steps of the inversion encoder's training, and its photographs."""

import numpy as np
import pytest

from sdflow_jax.files import networks
from sdflow_jax.pocket.build.codes import CodeMaker
from sdflow_jax.pocket.build.inversion import InversionSettings, train_inversion
from sdflow_jax.pocket.build.photo_augmentation import photograph

ENCODER = {
    "image_size": 64,
    "num_styles": 18,
    "style_dim": 8,
    "widths": [4, 4, 8, 8, 8],
    "units": [1, 1, 1, 1],
    "head_width": 4,
}
STUDENT = {
    "resolution": 64,
    "style_dim": 8,
    "channels": {"4": 8, "8": 8, "16": 4, "32": 4, "64": 4},
    "num_mapping_layers": 2,
}


def test_photographs_stay_in_range_and_look_like_the_picture():
    import jax

    images = jax.random.uniform(jax.random.key(0), (4, 32, 32, 3), minval=-0.8, maxval=0.8)
    images = jax.image.resize(images[:, ::8, ::8], images.shape, "bilinear")
    changed = photograph(jax.random.key(1), images)
    assert changed.shape == images.shape and np.abs(changed).max() <= 1.0
    assert 0 < np.abs(changed - images).mean() < 0.3


@pytest.mark.full
def test_trained_encoder_gives_codes_near_w(tmp_path):
    student = networks.build("CompactGenerator", STUDENT)
    codes = CodeMaker(student)(np.arange(64))
    pictures = np.asarray(student.synthesize(codes.w_plus()))
    scaled = pictures / np.abs(pictures).max()
    stored = np.rint((scaled + 1) * 127.5).astype(np.uint8)
    encoder = train_inversion(
        student, codes, stored, InversionSettings(ENCODER, num_steps=4, batch_size=8), tmp_path
    )
    found = np.asarray(encoder(scaled))
    average = codes.coarse.mean(0)
    assert found.shape == (64, 18, 8) and np.isfinite(found).all()
    np.testing.assert_allclose(encoder.latent_average[0], average, atol=1e-5)
