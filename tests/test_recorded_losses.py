"""The whole loss with its gradients, and edits, against recorded outputs of the original code."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from converters import flow as flow_converter
from converters import resnet as encoder_converter
from converters import stylegan2 as generator_converter
from sdflow_jax import networks
from sdflow_jax.flow import SolverSettings
from sdflow_jax.losses import Draws, LossSettings, losses_of_draws
from tests.flow.small_flow import in_float64
from tests.golden.golden_weights import load_case

GOLDEN = pathlib.Path(__file__).parent / "golden"

REFERENCE = LossSettings(
    resize="nearest", statistics_between_passes=True, reference_nll_constant=True
)


def build(path, part, converter):
    """The network of one part of a case, and what turns its arrays back into upstream's."""
    name, arguments, arrays = converter.convert(load_case(path, part).state_dict)
    module = nnx.eval_shape(lambda: networks.build(name, arguments))
    networks.load_arrays(module, arrays, source=part)
    return module, lambda flat: converter.restore(arguments, flat)


class FirstStyles:
    """Upstream's generators ignore the styles beyond their own number; ours refuse them."""

    def __init__(self, generator):
        self.generator = generator

    def synthesize(self, w_plus):
        return self.generator.synthesize(w_plus[:, : self.generator.num_styles])


def loss_and_gradients(dtype, solver):
    path = GOLDEN / "loss" / "same_noise"
    flow, flow_to_torch = build(path, "flow", flow_converter)
    encoder, encoder_to_torch = build(path, "estimator", encoder_converter)
    generator, _ = build(path, "generator", generator_converter)
    encoder.train()
    generator.eval()
    if dtype == jnp.float64:
        for module in (flow, encoder, generator):
            in_float64(module)
    flow.solver = solver
    description, _, arrays = load_case(path, "flow")
    batch = {
        "image": jnp.asarray(arrays["image"], dtype).transpose(0, 2, 3, 1),
        "w_plus": jnp.asarray(arrays["latent"], dtype),
        "predictions": jnp.asarray(arrays["attributes"], dtype),
    }
    draws = Draws(
        jnp.asarray(arrays["e_forward"], dtype),
        jax.nn.one_hot(arrays["modify_idx"], 3, dtype=bool),
        jnp.broadcast_to(jnp.asarray(arrays["modify_value"], dtype)[:, None], (2, 3)),
    )

    @nnx.jit
    def run(trained, generator, batch, draws):
        def loss(trained):
            terms, aux = losses_of_draws(
                trained["flow"],
                trained["estimator"],
                FirstStyles(generator),
                batch,
                draws,
                settings=REFERENCE,
            )
            return sum(terms.values()), (terms, aux)

        return nnx.value_and_grad(loss, has_aux=True)(trained)

    trained = nnx.Dict(flow=flow, estimator=encoder)
    (_, (terms, aux)), gradients = run(trained, generator, batch, draws)
    assert aux["success"]
    torch = {}
    for part, module, to_torch in (
        ("flow", flow, flow_to_torch),
        ("estimator", encoder, encoder_to_torch),
    ):
        leaves = jax.tree_util.tree_flatten_with_path(nnx.to_pure_dict(gradients[part]))[0]
        flat = {k: np.zeros_like(x) for k, x in networks.flatten(module).items()} | {
            jax.tree_util.keystr(k, simple=True, separator="/"): np.asarray(x) for k, x in leaves
        }
        torch |= {f"{part}/{key}": x for key, x in to_torch(flat).items()}
    return description, arrays, terms, aux, torch


END_TIME = "flow/chain.1.sqrt_end_time"


@pytest.mark.full
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_recorded_losses_and_gradients_are_reproduced(precision):
    """Tolerances: ten times upstream's own distance from the exact solution, or, in float64, the solver's."""
    tight = precision == "float64"
    with jax.enable_x64(tight):
        solver = SolverSettings(rtol=1e-9, atol=1e-9) if tight else SolverSettings()
        description, arrays, terms, aux, gradients = loss_and_gradients(
            jnp.float64 if tight else jnp.float32, solver
        )
    tolerance = {"kd": 2e-6, "reg": 2e-6, "mi": 1e-4, "nll": 3e-4}
    for name, value in terms.items():
        np.testing.assert_allclose(
            value, arrays[f"loss.{name}|exact"], rtol=0, atol=1e-7 if tight else tolerance[name]
        )
    np.testing.assert_allclose(
        aux["semantic_variables"], arrays["label_dist|exact"], rtol=0, atol=1e-5
    )
    # Upstream's end time has a wrong gradient; this one is from central differences.
    np.testing.assert_allclose(
        gradients[END_TIME],
        description["true_grad_sqrt_end_time"]["total"],
        rtol=1e-4 if tight else 6e-2,
    )
    norms = description["parameter_grad_norms"]["direct"]
    whole = np.sqrt(sum(norm**2 for norm in norms.values()))
    for key, norm in norms.items():
        if key != END_TIME:
            # The gradient before a batch norm is zero but for rounding: measure it against the whole.
            np.testing.assert_allclose(
                np.linalg.norm(gradients[key]),
                norm,
                rtol=1e-4 if tight else 3e-2,
                atol=(1e-6 if tight else 1e-4) * whole,
                err_msg=key,
            )
    for name in arrays:
        key = name.removeprefix("grad.").removesuffix(".first8|direct")
        if not name.endswith(".first8|direct") or key == END_TIME:
            continue
        expected = arrays[name]
        scale = np.abs(expected).max()
        first8 = gradients[key].reshape(-1)[:8]
        error = np.abs(first8 - expected).max() / scale
        assert error < (1e-4 if tight else 1e-1), key


@pytest.mark.parametrize(
    "name", ["transform_a3", pytest.param("transform_a3_strong", marks=pytest.mark.full)]
)
def test_recorded_edit_is_reproduced(name):
    path = GOLDEN / "editor" / name
    flow, _ = build(path, "flow", flow_converter)
    encoder, _ = build(path, "estimator", encoder_converter)
    encoder.eval()
    description, _, arrays = load_case(path, "flow")
    editor = description["editor"]
    attribute, scale = editor["attr_num"], editor["scale"]
    column = editor["attr_list"].index(attribute)

    s = jax.jit(encoder)(jnp.asarray(arrays["image"]).transpose(0, 2, 3, 1))
    np.testing.assert_allclose(s, arrays["label_dist|exact"], rtol=0, atol=1e-5)
    source = arrays["sources"][:, attribute]
    target = np.where(source == 1, -scale, np.where(source == 0, 1 + scale, source))
    s_hat = s.at[:, column].set(target)

    @jax.jit
    def edit(w_plus, s, s_hat, z, targets):
        latents = flow.forward(w_plus, s).latents
        return flow.inverse(latents, s_hat).latents, flow.inverse(z, targets).latents

    edited, sampled = edit(arrays["latent"], s, s_hat, arrays["z"], arrays["targets"])
    # Ten times the error of upstream's solver, which controls the log-density too: its steps are shorter.
    np.testing.assert_allclose(edited, arrays["new_latents|exact"], rtol=0, atol=5e-4)
    np.testing.assert_allclose(sampled, arrays["sample_latents|exact"], rtol=0, atol=5e-4)
