"""The losses, on stand-in networks whose outputs are known without computing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax.flow import SolverSettings
from sdflow_jax.flow.conditional_flow import FlowSolution
from sdflow_jax.losses import (
    Conventions,
    Draws,
    LossSettings,
    draw,
    losses_of_draws,
    mean_squared_error,
    negative_log_likelihood,
    sdflow_losses,
)
from tests.flow.small_flow import BATCH, DIM, NUM_CONDITIONS, NUM_STYLES, small_flow

SIZE = 4


class StandInFlow:
    """Adds the mean condition going forward, takes it off again going back, and records its calls."""

    def __init__(self):
        self.calls = []

    def forward(self, w_plus, s, *, noise=None):
        self.calls.append(("forward", noise is not None))
        shift = jnp.mean(s, axis=1)[:, None, None]
        delta_logp = None if noise is None else jnp.mean(noise, axis=-1)
        return solution(w_plus + shift, delta_logp, 5)

    def inverse(self, z, s, *, noise=None, statistics=None):
        assert statistics is None
        self.calls.append(("inverse", noise is not None))
        return solution(z - jnp.mean(s, axis=1)[:, None, None], None, 3)


def solution(latents, delta_logp, num_steps):
    return FlowSolution(latents, delta_logp, num_steps, 2 * num_steps, jnp.asarray(True), None)


class StandInEncoder(nnx.Module):
    """Sigmoid of each colour's batch-normalized mean."""

    def __init__(self, *, use_running_average=True):
        self.norm = nnx.BatchNorm(
            NUM_CONDITIONS, use_running_average=use_running_average, rngs=nnx.Rngs(0)
        )

    def __call__(self, images):
        return nnx.sigmoid(self.norm(jnp.mean(images, axis=(1, 2))[:, :NUM_CONDITIONS]))


class StandInGenerator:
    """Paints the first three dimensions of the first style on the whole image, four times as large."""

    num_styles = NUM_STYLES

    def synthesize(self, w_plus, *, dtype=None):
        colour = 4 * w_plus[:, 0, :3].astype(dtype or w_plus.dtype)
        return jnp.broadcast_to(colour[:, None, None], (len(colour), 2 * SIZE, 2 * SIZE, 3))


def encoded(images):
    return 1 / (
        1 + np.exp(-np.asarray(images).mean((1, 2))[:, :NUM_CONDITIONS] / np.sqrt(1 + 1e-5))
    )


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    return {
        "image": jnp.asarray(random.uniform(-1, 1, (BATCH, SIZE, SIZE, 3)), jnp.float32),
        "w_plus": jnp.asarray(random.normal(size=(BATCH, NUM_STYLES, DIM)), jnp.float32),
        "predictions": jnp.asarray(random.uniform(size=(BATCH, NUM_CONDITIONS)), jnp.float32),
    }


@pytest.fixture
def draws():
    noise = np.random.default_rng(1).choice([-1.0, 1.0], (BATCH, NUM_STYLES, DIM))
    edited = np.array([[True, False], [False, True]])
    values = np.array([[0.9, 0.5], [0.5, 0.2]])
    return Draws(jnp.asarray(noise), jnp.asarray(edited), jnp.asarray(values))


def test_terms_are_those_of_the_paper(batch, draws):
    terms, aux = losses_of_draws(
        StandInFlow(), StandInEncoder(), StandInGenerator(), batch, draws, settings=LossSettings()
    )
    w_plus, s = np.asarray(batch["w_plus"]), encoded(batch["image"])
    s_hat = np.where(draws.edited, draws.values, s)
    z = w_plus + s.mean(1)[:, None, None]
    w_edited = z - s_hat.mean(1)[:, None, None]
    colour = np.clip(4 * w_edited[:, 0, :3], -1, 1)
    log_normal = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    log_likelihood = log_normal.sum(-1) - np.asarray(draws.noise).mean(-1)
    expected = {
        "nll": -log_likelihood.mean() / DIM,
        "kd": ((s - np.asarray(batch["predictions"])) ** 2).mean(),
        "mi": ((encoded(colour[:, None, None]) - s_hat) ** 2).mean(),
        "reg": ((w_plus - w_edited) ** 2).mean(),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-4, err_msg=name)
    assert aux["success"]
    assert aux["num_steps"] == {"forward": 5, "inverse": 3}
    assert aux["num_evaluations"] == {"forward": 10, "inverse": 6}


@pytest.mark.parametrize(
    "terms, calls",
    [
        (("kd",), []),
        (("nll",), [("forward", True)]),
        (("reg",), [("forward", False), ("inverse", False)]),
        (("nll", "mi"), [("forward", True), ("inverse", False)]),
    ],
)
def test_what_no_term_needs_is_not_computed(batch, draws, terms, calls):
    flow = StandInFlow()
    generator = StandInGenerator() if "mi" in terms else None
    settings = LossSettings(terms=terms)
    values, _ = losses_of_draws(flow, StandInEncoder(), generator, batch, draws, settings=settings)
    assert set(values) == set(terms) and flow.calls == calls


def test_no_gradient_passes_through_the_edited_condition(batch, draws):
    """With z - mean(s_hat) as the inverse, s_hat would hand the encoder a gradient of reg."""

    class ForgetfulFlow(StandInFlow):
        def forward(self, w_plus, s, *, noise=None):
            return solution(w_plus, None, 1)

    def reg(images, flow):
        terms, _ = losses_of_draws(
            flow,
            StandInEncoder(),
            None,
            {**batch, "image": images},
            draws,
            settings=LossSettings(terms=("reg",)),
        )
        return terms["reg"]

    assert jnp.all(jax.grad(reg)(batch["image"], ForgetfulFlow()) == 0)
    assert jnp.any(jax.grad(reg)(batch["image"], StandInFlow()) != 0)  # the forward condition does


def test_clamped_pixels_pass_no_gradient(batch, draws):
    def mi(w_plus):
        terms, _ = losses_of_draws(
            StandInFlow(),
            StandInEncoder(),
            StandInGenerator(),
            {**batch, "w_plus": w_plus},
            draws,
            settings=LossSettings(terms=("mi",)),
        )
        return terms["mi"]

    too_bright = jnp.full((BATCH, NUM_STYLES, DIM), 0.6)
    assert jnp.all(jax.grad(mi)(too_bright) == 0)
    assert jnp.any(jax.grad(mi)(0.1 * too_bright) != 0)


def test_generator_stops_at_the_resolution_that_mi_asks_for(batch, draws):
    asked = []

    class Recording(StandInGenerator):
        def synthesize(self, w_plus, *, resolution=None, dtype=None):
            asked.append(resolution)
            return super().synthesize(w_plus, dtype=dtype)

    for resolution in (0, 2):
        settings = LossSettings(terms=("mi",), image_resolution=resolution)
        losses_of_draws(
            StandInFlow(), StandInEncoder(), Recording(), batch, draws, settings=settings
        )
    assert asked == [None, 2]


def test_encoder_statistics_move_twice_within_a_gradient(batch, draws):
    def loss(encoder):
        terms, _ = losses_of_draws(
            StandInFlow(), encoder, StandInGenerator(), batch, draws, settings=LossSettings()
        )
        return sum(terms.values())

    encoder = StandInEncoder(use_running_average=False)
    nnx.value_and_grad(loss)(encoder)
    seen = nnx.state(encoder, nnx.BatchStat)
    once = StandInEncoder(use_running_average=False)
    once(batch["image"])
    # The second call saw the edited faces, other images, so the mean has moved on from the first.
    first = nnx.state(once, nnx.BatchStat)["norm"]["mean"][...]
    assert jnp.abs(seen["norm"]["mean"][...] - 0.99 * first).max() > 1e-4


def test_unedited_latents_come_back_unless_statistics_move_between_the_passes(batch, draws):
    flow = small_flow(solver=SolverSettings(num_steps=8))
    nothing = draws._replace(edited=jnp.zeros((BATCH, NUM_CONDITIONS), bool))

    @jax.jit
    def reg(batch):
        return [
            losses_of_draws(
                flow,
                StandInEncoder(),
                None,
                batch,
                nothing,
                settings=LossSettings(
                    terms=("reg",),
                    conventions=Conventions(statistics_between_passes=between),
                ),
            )[0]["reg"]
            for between in (False, True)
        ]

    invertible, reference = reg(batch)
    assert invertible < 1e-5 < 1e-3 < reference


def test_the_whole_loss_runs_from_a_key(batch):
    flow = small_flow(solver=SolverSettings(num_steps=2))
    settings = LossSettings(terms=("nll", "kd", "mi"), generator_dtype="bfloat16")
    losses = jax.jit(
        lambda key: sdflow_losses(
            flow, StandInEncoder(), StandInGenerator(), batch, key, settings=settings
        )
    )
    terms, aux = losses(jax.random.key(0))
    again, _ = losses(jax.random.key(0))
    other, _ = losses(jax.random.key(1))
    assert aux["success"] and terms["mi"].dtype == jnp.float32
    assert terms == again and terms["mi"] != other["mi"] and terms["nll"] != other["nll"]
    flow.update_statistics(aux["batch_statistics"])


def test_one_row_is_as_good_as_the_same_row_for_all_styles(batch, draws):
    """Losses and gradients; the generator paints by the first row and reg by all of them."""
    flow = small_flow(solver=SolverSettings(num_steps=8))
    row = {**batch, "w_plus": batch["w_plus"][:, :1]}
    rows = {**batch, "w_plus": jnp.repeat(row["w_plus"], NUM_STYLES, axis=1)}
    noise = draws.noise[:, :1]
    graph, parameters, rest = nnx.split(flow, nnx.Param, ...)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(parameters, batch, draws):
        terms, aux = losses_of_draws(
            nnx.merge(graph, parameters, rest),
            StandInEncoder(),
            StandInGenerator(),
            batch,
            draws,
            settings=LossSettings(),
        )
        return sum(terms.values()), (terms, aux["batch_statistics"])

    (_, (one, statistics)), gradient = loss(parameters, row, draws._replace(noise=noise))
    many_draws = draws._replace(noise=jnp.repeat(noise, NUM_STYLES, axis=1))
    (_, (many, many_statistics)), many_gradient = loss(parameters, rows, many_draws)
    for name in one:
        np.testing.assert_allclose(one[name], many[name], rtol=1e-4, atol=1e-6, err_msg=name)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), gradient, many_gradient
    )
    for norm, many_norm in zip(statistics, many_statistics, strict=True):
        np.testing.assert_allclose(norm.mean, many_norm.mean, rtol=1e-4, atol=1e-6)


def test_one_attribute_is_edited_or_about_half_of_them(batch):
    latents = jnp.zeros((500, 1, 1))
    one = draw(jax.random.key(0), latents, 4, LossSettings(resample="one"))
    subset = draw(jax.random.key(0), latents, 4, LossSettings(resample="subset"))
    np.testing.assert_array_equal(one.edited.sum(1), np.ones(500))
    assert one.edited.any(0).all()
    assert abs(subset.edited.mean() - 0.5) < 0.05
    assert one.values.min() >= 0 and one.values.max() <= 1 and one.values.std() > 0.2


def test_nll_of_the_base_distribution_is_its_entropy():
    z = jax.random.normal(jax.random.key(0), (64, 18, 32))
    nll = negative_log_likelihood(z, jnp.zeros((64, 18)))
    np.testing.assert_allclose(nll.mean(), 0.5 * np.log(2 * np.pi * np.e), atol=0.02)


def test_reference_nll_has_the_surplus_constant():
    z, delta_logp = jnp.ones((1, 2, 512)), jnp.zeros((1, 2))
    ours = negative_log_likelihood(z, delta_logp)
    reference = negative_log_likelihood(z, delta_logp, reference_constant=True)
    # Upstream subtracts 0.5 * 512 * log(2 pi) at each of the 512 coordinates.
    np.testing.assert_allclose(reference, 0.5 + 0.5 * 512 * np.log(2 * np.pi), rtol=1e-6)
    np.testing.assert_allclose(ours, 0.5 + 0.5 * np.log(2 * np.pi), rtol=1e-6)


def test_shapes_that_broadcasting_would_hide_are_refused():
    with pytest.raises(ValueError, match=r"equal shapes, got \(2, 3\) and \(2, 1\)"):
        mean_squared_error(jnp.zeros((2, 3)), jnp.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"one number per latent, \(2, 3\), got \(2, 1\)"):
        negative_log_likelihood(jnp.zeros((2, 3, 4)), jnp.zeros((2, 1)))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"terms": ("nll", "id")}, "some of nll, kd, mi, reg.*unknown: id"),
        ({"terms": ()}, r"some of nll, kd, mi, reg, flow_matching, got \(\)"),
        ({"resample": "all"}, "resample must be one of"),
        ({"generator_dtype": "int8"}, "generator_dtype must be one of"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        LossSettings(**wrong)


def test_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="resize must be one of"):
        Conventions(resize="bicubic")


def test_flow_matching_needs_no_solve_and_draws_of_its_own():
    flow = small_flow()
    settings = LossSettings(terms=("flow_matching",), semantic_variables="classifier")
    batch = {
        "image": jnp.zeros((BATCH, SIZE, SIZE, 3)),
        "w_plus": jnp.ones((BATCH, NUM_STYLES, DIM)),
        "predictions": jnp.full((BATCH, NUM_CONDITIONS), 0.5),
    }
    key = jax.random.key(0)
    terms, aux = sdflow_losses(flow, None, None, batch, key, settings=settings)
    draws = draw(key, batch["w_plus"], NUM_CONDITIONS, settings)
    expected, _ = flow.mismatch(batch["w_plus"], batch["predictions"], draws.base, draws.shares)
    assert terms.keys() == {"flow_matching"}
    np.testing.assert_allclose(terms["flow_matching"], expected.mean(), rtol=1e-6)
    assert aux["num_evaluations"] == {} and bool(aux["success"])
    assert len(aux["batch_statistics"]) == 2


def test_draws_of_the_paper_do_not_change_with_flow_matching():
    w_plus = jnp.ones((BATCH, NUM_STYLES, DIM))
    without, with_it = (
        draw(jax.random.key(0), w_plus, NUM_CONDITIONS, LossSettings(terms=terms))
        for terms in (("nll",), ("nll", "flow_matching"))
    )
    assert without.base is None and with_it.base.shape == w_plus.shape
    for name in ("noise", "edited", "values"):
        np.testing.assert_array_equal(getattr(without, name), getattr(with_it, name))


def test_flow_matching_leaves_the_last_norm_where_it_is():
    settings = LossSettings(terms=("flow_matching", "reg"), semantic_variables="classifier")
    flow = small_flow()
    batch = {
        "image": jnp.zeros((BATCH, SIZE, SIZE, 3)),
        "w_plus": jnp.ones((BATCH, NUM_STYLES, DIM)),
        "predictions": jnp.full((BATCH, NUM_CONDITIONS), 0.5),
    }
    _, aux = sdflow_losses(flow, None, None, batch, jax.random.key(0), settings=settings)
    assert set(aux["num_evaluations"]) == {"forward", "inverse"}
    before = flow.norms[-1].statistics
    flow.update_statistics(aux["batch_statistics"])
    for old, new in zip(before, flow.norms[-1].statistics, strict=True):
        np.testing.assert_allclose(old, new, rtol=1e-6)
