import json
import pathlib

import jax
import numpy as np
import pytest
from flax import nnx

from converters import stylegan2
from converters.errors import CheckpointError
from converters.torch_reader import read_checkpoint
from sdflow_jax.files import networks
from tests.filled_networks import filled_arrays

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "nvidia_pkl"

TINY = {
    "resolution": 16,
    "style_dim": 6,
    "channels": {"4": 5, "8": 4, "16": 3},
    "num_mapping_layers": 2,
    "mapping_lr_multiplier": 0.01,
}


@pytest.fixture
def arrays():
    return filled_arrays("Generator", TINY)


@pytest.fixture(scope="module")
def nvidia():
    return read_checkpoint(GOLDEN / "tiny32.pkl")


def _same(found, expected):
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert found[key].shape == array.shape, key
        np.testing.assert_array_equal(found[key], array, err_msg=key)


def _loaded(network, arguments, arrays):
    module = nnx.eval_shape(lambda: networks.build(network, arguments))
    networks.load_arrays(module, arrays, source="test")
    return module


def test_rosinality_checkpoint_and_back_is_exact(arrays):
    tree = stylegan2.restore(TINY, arrays)
    assert stylegan2.matches(tree)
    network, arguments, found = stylegan2.convert(tree)
    assert (network, arguments) == ("Generator", TINY)
    _same(found, arrays)
    _same(stylegan2.restore(arguments, found)["g_ema"], tree["g_ema"])


def test_distributed_prefix_is_dropped(arrays):
    tree = stylegan2.restore(TINY, arrays)
    tree["g_ema"] = {f"module.{key}": value for key, value in tree["g_ema"].items()}
    _same(stylegan2.convert(tree)[2], arrays)


def test_nvidia_state_and_back_is_exact(nvidia):
    assert stylegan2.matches(nvidia)
    network, arguments, arrays = stylegan2.convert(nvidia)
    assert network == "Generator"
    assert json.loads(json.dumps(arguments)) == {
        "resolution": 32,
        "style_dim": 32,
        "channels": {"4": 32, "8": 32, "16": 32, "32": 16},
        "num_mapping_layers": 2,
        "mapping_lr_multiplier": 0.01,
    }
    _same(stylegan2.restore_nvidia(arguments, arrays), nvidia["G_ema"]["state_dict"])


@pytest.mark.parametrize("which", ["G_ema", "G"])
def test_nvidia_images_are_those_of_the_reference(nvidia, which):
    generator = _loaded(*stylegan2.convert({"G_ema": nvidia[which]}))
    golden = np.load(GOLDEN / "tiny32.npz")
    w = jax.jit(generator.map)(golden["z"])
    render = jax.jit(lambda w_plus, noise: generator(w_plus, use_noise=noise), static_argnums=1)
    for psi, recorded, noise in [
        (1, "psi1", True),
        (0.7, "psi0.7", True),
        (1, "noise_none.psi1", False),
    ]:
        w_plus = generator.broadcast(generator.truncate(w, psi))
        images = np.asarray(render(w_plus, noise)).transpose(0, 3, 1, 2)
        # Ten times the reference's own rounding, which also covers the demodulation's epsilon.
        np.testing.assert_allclose(images, golden[f"{which}.image.{recorded}"], rtol=0, atol=1e-4)
        if noise:
            rows = w_plus[:, [0, -1]]
            np.testing.assert_allclose(rows, golden[f"{which}.w.{recorded}"], rtol=0, atol=1e-5)


def test_both_formats_give_the_same_arrays(arrays):
    nvidia = {"G_ema": {"state_dict": stylegan2.restore_nvidia(TINY, arrays)}}
    _same(stylegan2.convert(nvidia)[2], stylegan2.convert(stylegan2.restore(TINY, arrays))[2])


def test_missing_average_is_the_mean_of_the_mapping_network(arrays):
    tree = stylegan2.restore(TINY, arrays)
    del tree["latent_avg"]
    network, arguments, found = stylegan2.convert(tree)
    generator = _loaded(network, arguments, found)
    z = np.random.default_rng(1).normal(size=(4096, 6)).astype(np.float32)
    w = np.asarray(jax.jit(generator.map)(z))
    error = (
        5 * w.std(axis=0) / np.sqrt(4096)
    )  # of two estimates, one from 4,096 and one from 10,000
    assert (np.abs(found["w_average"] - w.mean(axis=0)) < error).all()
    assert not np.allclose(found["w_average"], arrays["w_average"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("convs.0.conv.weight", None, "convs.0.conv.weight .*missing"),
        ("convs.9.conv.weight", np.zeros(3, np.float32), "convs.9.conv.weight .*unexpected"),
        ("noises.noise_1", np.zeros((1, 1, 4, 4), np.float32), "noises.noise_1"),
        ("to_rgb1.conv.weight", None, "to_rgb1.conv.weight"),
        ("to_rgb1.conv.weight", np.zeros((), np.float32), "expected more axes"),
        ("convs.0.conv.blur.kernel", np.ones((4, 4), np.float32), r"filter \[1, 3, 3, 1\]"),
    ],
)
def test_damage_is_named(arrays, key, value, message):
    tree = stylegan2.restore(TINY, arrays)
    if value is None:
        del tree["g_ema"][key]
    else:
        tree["g_ema"][key] = value
    with pytest.raises(CheckpointError, match=message):
        stylegan2.convert(tree)


def test_average_of_another_length_is_rejected(arrays):
    tree = stylegan2.restore(TINY, arrays) | {"latent_avg": np.zeros(7, np.float32)}
    with pytest.raises(CheckpointError, match=r"latent_avg of shape \(6,\), got \(7,\)"):
        stylegan2.convert(tree)


def conditional_tree(arrays, num_classes=3):
    """NVIDIA's pickle of a generator whose first mapping layer also reads an embedded class."""
    random = np.random.default_rng(7)
    state_dict = stylegan2.restore_nvidia(TINY, arrays)
    dim = TINY["style_dim"]
    first = 100 * random.normal(size=(dim, 2 * dim))  # NVIDIA stores it divided by 0.01
    state_dict["mapping.fc0.weight"] = first.astype(np.float32)
    for key, shape in {"weight": (dim, num_classes), "bias": (dim,)}.items():
        state_dict[f"mapping.embed.{key}"] = random.normal(size=shape).astype(np.float32)
    return {"G_ema": {"state_dict": state_dict, "init_kwargs": {"c_dim": num_classes}}}


def conditional_styles(state_dict, z, label):
    """w as stylegan2-ada-pytorch's `MappingNetwork.forward` computes it."""

    def normalized(x):
        return x / np.sqrt(np.mean(np.square(x), axis=1, keepdims=True) + 1e-8)

    embed, bias = state_dict["mapping.embed.weight"], state_dict["mapping.embed.bias"]
    classes = np.eye(embed.shape[1])[[label] * len(z)]
    embedded = classes @ (embed / np.sqrt(embed.shape[1])).T + bias
    x = np.concatenate([normalized(z), normalized(embedded)], axis=1)
    for i in range(TINY["num_mapping_layers"]):
        weight, bias = state_dict[f"mapping.fc{i}.weight"], state_dict[f"mapping.fc{i}.bias"]
        x = x @ (weight * (0.01 / np.sqrt(weight.shape[1]))).T + 0.01 * bias
        x = np.where(x < 0, 0.2 * x, x) * np.sqrt(2)
    return x


@pytest.mark.parametrize("label", [0, 2])
def test_one_class_of_a_conditional_generator_is_converted(arrays, label):
    tree = conditional_tree(arrays)
    generator = _loaded(*stylegan2.convert(tree, class_label=label))
    z = np.random.default_rng(1).normal(size=(5, TINY["style_dim"])).astype(np.float32)
    expected = conditional_styles(tree["G_ema"]["state_dict"], z, label)
    np.testing.assert_allclose(generator.map(z), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("label", "message"),
    [(None, "choose the class to show with --class"), (3, "from 0 to 2, got 3"), (-1, "got -1")],
)
def test_a_conditional_generator_needs_one_of_its_classes(arrays, label, message):
    with pytest.raises(CheckpointError, match=message):
        stylegan2.convert(conditional_tree(arrays), class_label=label)


def test_a_class_of_an_unconditional_generator_is_refused(arrays):
    tree = {"G_ema": {"state_dict": stylegan2.restore_nvidia(TINY, arrays)}}
    with pytest.raises(CheckpointError, match="has no classes"):
        stylegan2.convert(tree, class_label=0)


def test_a_conditional_generator_without_its_embedding_is_refused(arrays):
    tree = conditional_tree(arrays)
    del tree["G_ema"]["state_dict"]["mapping.embed.weight"]
    with pytest.raises(CheckpointError, match=r"mapping\.embed\.weight"):
        stylegan2.convert(tree, class_label=0)


@pytest.mark.parametrize(
    "tree", [{}, [], {"state_dict": {"conv1.weight": np.zeros(2)}}, {"G_ema": 3}]
)
def test_other_things_do_not_match(tree):
    assert not stylegan2.matches(tree)
