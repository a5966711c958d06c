import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.images.resizing import crop_and_resize
from sdflow_jax.models.resample import upsample
from sdflow_jax.models.synthesis import faces_of, picture_size, render
from tests.filled_networks import filled_network

CHANNELS = {"4": 8, "8": 8, "16": 4, "32": 4}
ARGUMENTS = {"style_dim": 6, "num_mapping_layers": 1}
GENERATORS = {
    "Generator": {"resolution": 32, "channels": CHANNELS},
    "CompactGenerator": {
        "resolution": 32,
        "channels": CHANNELS,
        "num_styles": 10,
        "color_style": 9,
    },
    "MobileStyleGAN": {"resolution": 64, "channels": CHANNELS},
}


@pytest.fixture(scope="module", params=GENERATORS)
def generator(request):
    return filled_network(request.param, {**GENERATORS[request.param], **ARGUMENTS})


def codes(rows, *, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(2, rows, 6)), jnp.float32)


def test_one_row_is_used_for_all_styles_and_surplus_rows_are_refused(generator):
    draw = jax.jit(render)
    row, n = codes(1), generator.num_styles
    expected = draw(generator, jnp.repeat(row, n, axis=1))
    np.testing.assert_allclose(draw(generator, row), expected, atol=1e-6)
    with pytest.raises(ValueError, match=rf"must be \[b, {n}, 6\].* got shape \(2, {n + 2}, 6\)"):
        draw(generator, codes(n + 2))


def test_every_resolution_can_be_asked_for_and_others_are_refused(generator):
    w_plus = codes(generator.num_styles)
    assert generator.resolutions[-1] == generator.resolution
    for resolution in generator.resolutions[-2:]:
        faces = render(generator, w_plus, resolution=resolution)
        assert faces.shape == (2, resolution, resolution, 3)
    with pytest.raises(ValueError, match="resolution must be one of .* got 24"):
        render(generator, w_plus, resolution=24)


def test_faces_of_a_size_come_from_the_smallest_picture_that_has_it(generator):
    w_plus, sizes = codes(generator.num_styles), generator.picture_sizes
    for size in (16, 12):
        drawn = min(r for r in sizes if r >= size)
        expected_size = None if drawn == generator.resolution else drawn
        assert picture_size(generator, size) == expected_size
        expected = crop_and_resize(render(generator, w_plus, resolution=drawn), size)
        np.testing.assert_allclose(faces_of(generator, w_plus, size), expected, atol=1e-6)
    assert picture_size(generator, 2 * generator.resolution) is None
    large = faces_of(generator, w_plus, 2 * generator.resolution)
    assert large.shape[1] == 2 * generator.resolution


def test_stylegan2_stops_at_its_own_sum_of_colors():
    generator = filled_network("Generator", {**GENERATORS["Generator"], **ARGUMENTS})
    w_plus = codes(generator.num_styles)
    stopped = generator.synthesize(w_plus, resolution=8)
    # The sum up to 8 pixels takes two blocks: styles 0 to 3.
    later = w_plus.at[:, 4:].set(7.0)
    np.testing.assert_array_equal(generator.synthesize(later, resolution=8), stopped)
    for block in (2, 3):  # with later colors taken out, the whole picture is its upsampling
        rgb = generator.to_rgbs[block]
        rgb.bias[...] = jnp.zeros_like(rgb.bias[...])
        rgb.kernel[...] = jnp.zeros_like(rgb.kernel[...])
    expected = upsample(upsample(stopped))
    np.testing.assert_allclose(generator.synthesize(w_plus), expected, atol=1e-5)


@pytest.mark.parametrize("resolution", [4, 17, 24])
@pytest.mark.parametrize("kind", ["CompactGenerator", "MobileStyleGAN"])
def test_resolutions_that_no_such_network_has_are_refused(kind, resolution):
    arguments = {**GENERATORS[kind], **ARGUMENTS, "resolution": resolution}
    with pytest.raises(ValueError, match=f"a power of two and at least 16, got {resolution}"):
        filled_network(kind, arguments)
