"""In a program that has turned jax's 64 bits on, everything runs in float32; the flow as it is asked."""

import functools
import importlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import evaluate
from reliability import tiny_world
from sdflow_jax.data import face_latents
from sdflow_jax.editor import Editor
from sdflow_jax.evaluation import run as evaluation_run
from sdflow_jax.files import networks
from sdflow_jax.flow import draw_noise
from sdflow_jax.methods.registry import METHODS, find_method
from tests.exported_run import NETWORKS, SIZE, write_run
from tests.filled_networks import filled_network


@pytest.fixture(autouse=True)
def double():
    # Weights of 32 bits meet the user's numbers of 64 in the flow: by jax's usual rules.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        assert jnp.zeros(()).dtype == np.float64
        yield


def _types(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize("role", {**tiny_world._NETWORKS, **NETWORKS})
def test_networks_have_weights_and_results_of_32_bits(role):
    name, arguments = {**tiny_world._NETWORKS, **NETWORKS}[role]
    network = filled_network(name, arguments)
    assert _types(nnx.state(network, nnx.Not(nnx.RngState))) == {np.dtype(np.float32)}

    def call(*shapes):
        given = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
        methods = {"Generator": "synthesize", "AttributeClassifier": "attribute_probabilities"}
        methods["ConditionalFlow"] = "forward"
        result = jax.eval_shape(getattr(network, methods.get(name, "__call__")), *given)
        return result.latents if name == "ConditionalFlow" else result

    if name == "Generator":
        result = call((2, network.num_styles, network.style_dim))
    elif name == "ConditionalFlow":
        result = call((2, 3, network.dim), (2, 2))
    else:
        result = call((2, SIZE, SIZE, 3))
    assert _types(result) == {np.dtype(np.float32)}


def test_the_flow_computes_in_64_bits_what_it_is_given_in_64():
    flow = filled_network(*NETWORKS["flow"])
    given = [jax.ShapeDtypeStruct(shape, np.float64) for shape in ((2, 3, flow.dim), (2, 2))]
    for direction in (flow.forward, flow.inverse):
        assert jax.eval_shape(direction, *given).latents.dtype == np.float64
    noise = draw_noise(jax.random.key(0), given[0].shape)  # of 32 bits, unless told otherwise
    density = functools.partial(flow.log_prob, noise=noise)
    assert jax.eval_shape(density, *given).dtype == np.float64
    x = np.random.default_rng(0).standard_normal((2, 3, flow.dim))
    norm = flow.norms[0]
    norm.variance.set_value(jnp.full(flow.dim, 0.3, np.float32))
    there, _ = norm.forward(x, norm.statistics)
    np.testing.assert_allclose(norm.inverse(there, norm.statistics)[0], x, atol=1e-13)


class Seen(Exception):
    """What a door has come to first; holds the type of jax's numbers behind it."""


def _tell(*_, **__):
    raise Seen(jnp.zeros(()).dtype.name)


@pytest.mark.parametrize("method", METHODS)
def test_training_runs_in_32_bits(method, monkeypatch):
    module = importlib.import_module(f"sdflow_jax.methods.{method}.training")
    for place in (face_latents, module):
        for name in ("read_recipe", "read_training_latents"):
            if hasattr(place, name):
                monkeypatch.setattr(place, name, _tell)
    with pytest.raises(Seen, match="float32"):
        find_method(method).train(mock.MagicMock(), None, None, None)


def test_building_and_measuring_run_in_32_bits(monkeypatch):
    monkeypatch.setattr(networks, "read_metadata", _tell)
    with pytest.raises(Seen, match="float32"):
        face_latents.prepare("", None, description={}, inversion_encoder="x", classifier="x")
    monkeypatch.setattr(evaluate, "read_shared_settings", _tell)
    with pytest.raises(Seen, match="float32"):
        evaluate.run({}, None, None)
    monkeypatch.setattr(evaluation_run, "observe_faces", _tell)
    settings = evaluation_run.EvaluationSettings()
    with pytest.raises(Seen, match="float32"):
        evaluation_run.evaluate(
            None, None, [], "", prediction_columns=(), requests=(), settings=settings
        )


def test_the_editor_runs_in_32_bits(tmp_path, monkeypatch):
    editor = Editor.from_workdir(write_run(tmp_path), batch_size=1)
    monkeypatch.setattr(Editor, "_run", _tell)
    faces, codes = np.zeros((1, SIZE, SIZE, 3)), np.zeros((1, 8, 6))
    for call in (
        lambda: editor.invert(faces),
        lambda: editor.read(faces),
        lambda: editor.synthesize(codes),
        lambda: editor.edit(codes, faces, {"Young": 1.0}),
        lambda: editor.sample(np.zeros((1, 2)), jax.random.key(0)),
        lambda: editor.codes_of_seeds(3),
    ):
        with pytest.raises(Seen, match="float32"):
            call()
