import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from converters import stylegan2
from sdflow_jax.files import networks
from tests.filled_networks import filled_network
from tests.golden.golden_weights import load_case

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "stylegan2"

TINY = {
    "resolution": 16,
    "style_dim": 6,
    "channels": {"4": 5, "8": 4, "16": 3},
    "num_mapping_layers": 2,
}


@pytest.fixture(scope="module")
def tiny():
    generator = filled_network("Generator", TINY)
    for conv in generator.convs:
        conv.noise_strength[...] = jnp.asarray(0.3)
    return generator


@pytest.fixture(scope="module")
def render(tiny):
    """The generator, compiled once for each setting."""
    return jax.jit(tiny.synthesize, static_argnames=("use_noise", "dtype"))


def _codes(generator, batch=2, seed=0):
    shape = (batch, generator.num_styles, generator.style_dim)
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _styles(generator, run, case):
    arrays = case.arrays
    if run == "wplus":
        return jnp.asarray(arrays["wplus"])
    w = generator.map(arrays["z1"])
    if run == "trunc":
        w = generator.truncate(w, case.description["truncation"])
    if run == "mix":
        return generator.mix(w, generator.map(arrays["z2"]), case.description["inject_index"])
    return generator.broadcast(w)


@pytest.mark.parametrize(
    "name",
    [
        "g32",
        "g64",
        pytest.param("g256_cm1", marks=pytest.mark.full),
        pytest.param("g1024_cm2", marks=pytest.mark.full),
    ],
)
def test_images_are_those_of_the_reference(name):
    case = load_case(GOLDEN / name)
    tree = {
        "g_ema": case.state_dict,
        "latent_avg": case.arrays.get("mean_latent", np.zeros((1, 512))),
    }
    network, arguments, arrays = stylegan2.convert(tree)
    generator = nnx.eval_shape(lambda: networks.build(network, arguments))
    networks.load_arrays(generator, arrays, source=name)
    render = jax.jit(lambda w_plus: generator(w_plus))  # one compilation for all runs
    size = generator.resolution
    centre = slice(size // 2 - 32, size // 2 + 32)
    for run in case.description["runs_recorded"]:
        w_plus = _styles(generator, run, case)
        images = np.asarray(render(w_plus)).transpose(0, 3, 1, 2)
        found = {
            "image": images,
            "image.crop64": images[:, :, centre, centre],
            "image.strided32": images[:, :, :: size // 32, :: size // 32],
            "latent_first": w_plus[:, 0],
            "latent_last": w_plus[:, -1],
        }
        recorded = {key: f"{run}.{key}" for key in found if f"{run}.{key}" in case.arrays}
        assert recorded
        for key, stored in recorded.items():
            # Ten times the reference's own error against float64.
            np.testing.assert_allclose(
                found[key], case.arrays[stored], rtol=0, atol=1e-4, err_msg=stored
            )


def test_equal_styles_mix_to_a_broadcast_one(tiny):
    w = tiny.map(jnp.ones((1, 6)))
    np.testing.assert_array_equal(tiny.mix(w, w, 3), tiny.broadcast(w))


def test_mapping_ignores_the_length_of_z(tiny):
    z = _codes(tiny)[:, 0]
    np.testing.assert_allclose(tiny.map(z), tiny.map(10 * z), rtol=1e-4, atol=1e-6)


def test_truncation_ends_at_the_average(tiny):
    w_plus = _codes(tiny)
    np.testing.assert_allclose(tiny.truncate(w_plus, 1.0), w_plus, atol=1e-6)
    truncated = tiny.truncate(w_plus, 0.0)
    np.testing.assert_array_equal(truncated, np.broadcast_to(tiny.w_average[...], w_plus.shape))


def test_noise_is_stored_drawn_or_left_out(tiny, render):
    w_plus = _codes(tiny)[:1].repeat(2, axis=0)
    stored = render(w_plus)
    np.testing.assert_array_equal(stored[0], stored[1])
    drawn = render(w_plus, noise_key=jax.random.key(1))
    assert not np.allclose(drawn[0], drawn[1])  # fresh for every image
    without = render(w_plus, use_noise=False)
    assert not np.allclose(without, stored)


def test_every_style_matters(tiny, render):
    w_plus = _codes(tiny, batch=1)
    images = render(jnp.concatenate([w_plus] + [w_plus.at[:, i].add(1.0) for i in range(6)]))
    changes = np.abs(images[1:] - images[:1]).max(axis=(1, 2, 3))
    assert (changes > 1e-3).all()


def test_bfloat16_features_give_nearly_the_same_float32_images(tiny, render):
    w_plus = _codes(tiny)
    exact, coarse = render(w_plus), render(w_plus, dtype=jnp.bfloat16)
    assert coarse.dtype == jnp.float32
    # Eight bits of significand through six layers: a percent or so of the images' range.
    np.testing.assert_allclose(coarse, exact, atol=0.05 * float(jnp.abs(exact).max()))
    assert not np.array_equal(coarse, exact)


@pytest.mark.parametrize("shape", [(2, 18, 6), (2, 6, 512), (2, 6)])
def test_codes_of_another_generator_are_rejected(tiny, shape):
    with pytest.raises(ValueError, match=r"w_plus must be \[b, 6, 6\] .* got shape"):
        tiny(jnp.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 24}, "power of two"),
        ({"resolution": 32}, r"must list the resolutions \[4, 8, 16, 32\], got \[4, 8, 16\]"),
    ],
)
def test_wrong_sizes_are_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        networks.expected_shapes("Generator", TINY | changes)


def test_default_channels_are_the_published_ones():
    shapes = networks.expected_shapes("Generator", {"resolution": 1024})
    widths = [shapes[f"to_rgbs/{i}/kernel"][0] for i in range(9)]
    assert widths == [512, 512, 512, 512, 512, 256, 128, 64, 32]


def test_fresh_generator_keeps_the_scale_of_its_features():
    @jax.jit  # construction included: one compilation instead of one for every shape
    def render(z):
        arguments = TINY | {"channels": {4: 32, 8: 32, 16: 16}}
        generator = networks.build("Generator", arguments)
        return generator(generator.broadcast(generator.map(z)))

    # Equalized learning rate: unit-variance weights give images of order one, whatever the widths.
    images = render(np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32))
    assert 0.3 < float(images.std()) < 10
