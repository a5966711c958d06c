"""Changing the coordinates of W+ keeps the pictures, and puts a face into one w."""

import numpy as np
import pytest

from sdflow_jax import networks
from sdflow_jax.pocket.build import w_space

GENERATOR = {
    "resolution": 16,
    "style_dim": 12,
    "channels": {"4": 8, "8": 8, "16": 6},
    "num_mapping_layers": 1,
}
NUM_STYLES = 6


@pytest.fixture(scope="module")
def codes():
    """W+ codes that 12 numbers determine: every style another linear image of them, about another mean."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(200, 12)) * np.linspace(1.5, 0.5, 12)
    directions = rng.normal(size=(12, NUM_STYLES, 12)) / np.sqrt(12)
    means = rng.normal(size=(NUM_STYLES, 12))
    return (np.einsum("nk,kld->nld", hidden, directions) + means).astype(np.float32)


def test_one_w_renders_what_different_styles_rendered(codes):
    generator = networks.build("Generator", GENERATOR)
    wanted = np.asarray(generator.synthesize(codes[:8]))
    mean, directions, w = w_space.principal_coordinates(codes)
    w_space.to_one_code(generator, mean, directions)
    found = np.asarray(generator.synthesize(generator.broadcast(w[:8].astype(np.float32))))
    assert np.abs(wanted - wanted.mean(0)).mean() > 0.05
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_components_are_ordered_uncorrelated_and_as_large_as_the_codes(codes):
    mean, directions, w = w_space.principal_coordinates(codes)
    rebuilt = mean + np.einsum("nk,kld->nld", w, directions)
    np.testing.assert_allclose(rebuilt, codes, atol=1e-4)
    deviations = w.std(0)
    assert (np.diff(deviations) < 0).all()
    correlations = np.corrcoef(w.T)
    np.testing.assert_allclose(correlations, np.eye(12), atol=1e-4)
    between_faces = np.square(codes - codes.mean(0)).mean()
    assert np.square(w).mean() == pytest.approx(between_faces, rel=1e-3)


def test_a_new_encoder_starts_with_one_style_for_all_layers(tmp_path):
    old = {
        "image_size": 32,
        "num_styles": NUM_STYLES,
        "style_dim": 12,
        "widths": [4, 4, 6, 8, 8],
        "units": [1, 1, 1, 1],
        "head_width": 8,
    }
    encoder = networks.build("InversionEncoder", old)
    encoder.eval()
    generator = networks.build("Generator", GENERATOR)
    faces = np.random.default_rng(1).integers(0, 256, (48, 32, 32, 3)).astype(np.uint8)
    images = faces.astype(np.float32) / 127.5 - 1.0
    before = np.asarray(encoder(images))
    assert before.std(axis=1).mean() > 1e-2
    settings = w_space.WSpaceSettings(num_steps=400, num_faces=48, batch_size=16)
    arguments = {**old, "head_width": 4, "base_width": 16}
    renewed = w_space.change_coordinates(encoder, generator, faces, arguments, settings, tmp_path)
    renewed.eval()
    w_plus = np.asarray(renewed(images))
    np.testing.assert_allclose(w_plus, np.repeat(w_plus[:, :1], NUM_STYLES, axis=1), atol=1e-6)
    # The head reads the faces it learnt from: all but the first three.
    _, _, w = w_space.principal_coordinates(
        np.concatenate([before, np.asarray(encoder(images[:, :, ::-1]))])
    )
    error = np.square(w_plus[3:, 0] - w[3:48]).mean()
    assert error < 0.7 * np.square(w[3:48]).mean()
