"""The losses of SDFlow (Li et al. 2024, method section; upstream `training/train_sdflow.py`).

The face I has latents w and semantic variables s = E_s(I). The flow carries w to z under s, and z
back to w_e under edited variables s_hat; G(w_e) is the edited face. Four terms:

  nll  L_nll, negative log-likelihood of w given s
  kd   L_kd, || C(I) - E_s(I) ||^2, C a frozen attribute classifier (knowledge distillation)
  mi   L_mi (Eq. 6), || E_s(G(w_e)) - s_hat ||^2, a bound on the mutual information of s_hat and
       the edited face
  reg  L_reg, || w - w_e ||^2

Beside the paper stands a fifth, which can take the place of nll:

  flow_matching  the vector field's distance from straight paths between w and noise, under s

The paper's other formulas stand beside their code too: the flow from w to z and its inverse, by
which faces are edited, in `ConditionalFlow.forward` and `inverse`; what they integrate, and the
log-density, in `flow.cnf`; the weighted sum of the four terms in `training.step`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sdflow_jax.flow.conditional_flow import ConditionalFlow, standard_normal_log_prob
from sdflow_jax.flow.trace import NoiseKind, draw_noise
from sdflow_jax.images.resizing import crop_and_resize, take_nearest
from sdflow_jax.models.synthesis import render

TERMS = ("nll", "kd", "mi", "reg")
MATCHING = "flow_matching"  # which configs may leave out


def _require_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ValueError(f"loss setting {name} must be one of {choices}, got {value!r}")


@dataclasses.dataclass(frozen=True)
class Conventions:
    """Where the original code (upstream `training/train_sdflow.py`) computes something else than what
    is right; the defaults are right, and `REFERENCE` is the original.

    Attributes:
      resize: how an edited face larger than the encoder's input is reduced: "antialias", or
        "nearest", which picks every k-th pixel.
      statistics_between_passes: give the inverse pass the norm statistics that the forward pass has
        just moved. The passes are then not quite each other's inverse, and reg is not zero even
        where nothing is edited.
      nll_constant: add a surplus 0.5 (d - 1) log(2 pi) to nll: the original subtracts the
        normalizing constant of all d dimensions at every one of them. No gradient.

    Raises:
      ValueError: for another way to resize.
    """

    resize: Literal["antialias", "nearest"] = "antialias"
    statistics_between_passes: bool = False
    nll_constant: bool = False

    def __post_init__(self):
        _require_choice("resize", self.resize, ("antialias", "nearest"))


# All that the original code does, for comparisons with it.
REFERENCE = Conventions(resize="nearest", statistics_between_passes=True, nll_constant=True)


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """Choices in the losses of SDFlow that change what is computed; weights belong to the training
    step.

    Attributes:
      terms: the terms to compute; what only the others need is not computed.
      semantic_variables: "encoder" reads s off the faces with the semantic encoder, which learns;
        "classifier" takes s = C(I), the predictions that come with the batch. The encoder then
        reads only the edited faces, for mi, and kd has no meaning.
      resample: "one" edits one random attribute per example (upstream), "subset" each one with
        probability 1/2.
      noise: distribution of Hutchinson's probe.
      generator_dtype: "bfloat16" to synthesize in reduced precision; None for float32.
      image_resolution: one of the generator's `resolutions`, at which it stops for mi; 0 for the
        whole face. Either is then reduced to the size of the batch's images.
      conventions: `REFERENCE` computes what the original code does.

    Raises:
      ValueError: for a setting that is none of these.
    """

    terms: tuple[str, ...] = TERMS
    semantic_variables: Literal["encoder", "classifier"] = "encoder"
    resample: Literal["one", "subset"] = "one"
    noise: NoiseKind = "rademacher"
    generator_dtype: str | None = None
    image_resolution: int = 0
    conventions: Conventions = Conventions()

    def __post_init__(self):
        object.__setattr__(self, "terms", tuple(self.terms))
        if not self.terms or (unknown := set(self.terms) - {*TERMS, MATCHING}):
            raise ValueError(
                f"loss terms must be some of {', '.join((*TERMS, MATCHING))}, got {self.terms!r}"
                + (f"; unknown: {', '.join(sorted(unknown))}" if self.terms else "")
            )
        if self.semantic_variables == "classifier" and "kd" in self.terms:
            raise ValueError(
                "the term kd teaches the semantic encoder what the classifier predicts; with the"
                " classifier's own predictions as semantic variables its weight must be 0"
            )
        for name, choices in (
            ("semantic_variables", ("encoder", "classifier")),
            ("resample", ("one", "subset")),
            ("noise", ("rademacher", "gaussian")),
            ("generator_dtype", (None, "float32", "bfloat16")),
        ):
            _require_choice(name, getattr(self, name), choices)


class Draws(NamedTuple):
    """The randomness of one evaluation of the losses.

    Attributes:
      noise: Hutchinson's probe for nll.
      edited: which semantic variables are edited.
      values: their edited values in [0, 1]; ignored elsewhere.
      base: ends of the paths of flow matching, from N(0, I); None without that term.
      shares: where on its path an example is looked at; None without that term.
    """

    noise: Float[Array, "b n d"]
    edited: Bool[Array, "b a"]
    values: Float[Array, "b a"]
    base: Float[Array, "b n d"] | None = None
    shares: Float[Array, " b"] | None = None


def draw(
    key: Array, w_plus: Float[Array, "b n d"], num_attributes: int, settings: LossSettings
) -> Draws:
    """Draw noise and edits for a batch of latents."""
    noise_key, edited_key, values_key = jax.random.split(key, 3)
    shape = (w_plus.shape[0], num_attributes)
    if settings.resample == "one":
        chosen = jax.random.randint(edited_key, shape[:1], 0, num_attributes)
        edited = jax.nn.one_hot(chosen, num_attributes, dtype=bool)
    else:
        edited = jax.random.bernoulli(edited_key, 0.5, shape)
    base = shares = None
    if MATCHING in settings.terms:
        base_key, shares_key = jax.random.split(jax.random.fold_in(key, 1))
        base = jax.random.normal(base_key, w_plus.shape, w_plus.dtype)
        shares = jax.random.uniform(shares_key, shape[:1], w_plus.dtype)
    return Draws(
        draw_noise(noise_key, w_plus.shape, settings.noise, w_plus.dtype),
        edited,
        jax.random.uniform(values_key, shape, w_plus.dtype),
        base,
        shares,
    )


def negative_log_likelihood(
    z: Float[Array, "b n d"], delta_logp: Float[Array, "b n"], *, reference_constant: bool = False
) -> Float[Array, " b"]:
    """L_nll: negative log-likelihood -(log N(z; 0, I) - delta_logp) of each example, in nats per
    latent dimension.

    Args:
      z: latents carried to the base distribution, [b, n, d].
      delta_logp: change of log-density on the way, in nats per latent, [b, n].
      reference_constant: add upstream's surplus constant, see
        `Conventions.nll_constant`.

    Returns:
      The sum over the n d dimensions divided by n d, for each example. Upstream divides by 18 *
      512, whatever the size.

    Raises:
      ValueError: if the leading shapes differ.
    """
    if delta_logp.shape != z.shape[:-1]:
        raise ValueError(
            f"delta_logp must hold one number per latent, {z.shape[:-1]}, got {delta_logp.shape}"
        )
    per_latent = -(standard_normal_log_prob(z) - delta_logp)
    nll = jnp.mean(per_latent, axis=-1) / z.shape[-1]
    if reference_constant:
        nll = nll + 0.5 * (z.shape[-1] - 1) * jnp.log(2 * jnp.pi).astype(z.dtype)
    return nll


def mean_squared_error(
    a: Float[Array, "b *rest"], b: Float[Array, "b *rest"]
) -> Float[Array, " b"]:
    """Squared difference of each example, averaged over everything but the batch: L_kd, L_mi and
    L_reg.

    Args:
      a: an array [b, ...].
      b: another of the same shape.

    Returns:
      [b], at least 0.

    Raises:
      ValueError: if the shapes differ, which broadcasting might hide.
    """
    if a.shape != b.shape:
        raise ValueError(f"squared error needs equal shapes, got {a.shape} and {b.shape}")
    return jnp.mean((a - b) ** 2, axis=tuple(range(1, a.ndim)))


def sdflow_losses(
    flow: ConditionalFlow,
    semantic_encoder: Callable[[Array], Array],
    generator: Any,
    batch: Mapping[str, Array],
    key: Array,
    *,
    settings: LossSettings,
) -> tuple[dict[str, Float[Array, ""]], dict[str, Any]]:
    """Compute the losses of SDFlow on one batch, with randomness drawn from `key`.

    Args:
      flow: the conditional flow.
      semantic_encoder: images [b, h, w, 3] in [-1, 1] to semantic variables [b, a] in [0, 1].
      generator: a face generator; unused without mi.
      batch: `image` [b, h, w, 3] in [-1, 1], `w_plus` [b, n, d], `predictions` [b, a] in [0, 1] of
        the frozen classifier.
      key: of Hutchinson's probe and of the edits.
      settings: what to compute, and how.

    Returns:
      The terms, by their names, unweighted: nll in nats per dimension, the others mean
      squares. And by-products; `losses_of_draws` tells of them and of gradients.

    Raises:
      ValueError: if the shapes do not fit each other or the flow.
    """
    num_attributes = batch["predictions"].shape[-1]
    draws = draw(key, batch["w_plus"], num_attributes, settings)
    return losses_of_draws(flow, semantic_encoder, generator, batch, draws, settings=settings)


def losses_of_draws(
    flow: ConditionalFlow,
    semantic_encoder: Callable[[Array], Array],
    generator: Any,
    batch: Mapping[str, Array],
    draws: Draws,
    *,
    settings: LossSettings,
) -> tuple[dict[str, Float[Array, ""]], dict[str, Any]]:
    """Compute the losses of one batch: a function of its arguments without any randomness.

    Args:
      flow: the conditional flow.
      semantic_encoder: images [b, h, w, 3] in [-1, 1] to semantic variables [b, a] in [0, 1].
        Called on the faces and then on the edited faces; in training mode its batch statistics move
        at both calls, in this order (as upstream). See `LossSettings.semantic_variables`.
      generator: has `synthesize(w_plus, resolution=..., dtype=...)` and `num_styles`; unused
        without mi.
      batch: `image` [b, h, w, 3] in [-1, 1], `w_plus` [b, n, d], `predictions` [b, a] of the frozen
        classifier. Where all rows of a code are one w, n = 1 gives the same at less cost: the flow
        acts on each row alike.
      draws: noise and edits.
      settings: what to compute, and how.

    Returns:
      The asked terms, unweighted scalars (means over the batch), and a dictionary of by-products:
      `semantic_variables` [b, a]; `success`, false if a solve failed (the terms then mean nothing);
      `batch_statistics` for `flow.update_statistics`, None if the flow was not run; and `num_steps`
      and `num_evaluations` of the `forward` and `inverse` solve, as far as they were run.

    Gradients flow through everything, except that s_hat is a constant: none reaches the encoder
    through the edited condition or through the target of mi.
    """
    image, w_plus = batch["image"], batch["w_plus"]
    is_given = settings.semantic_variables == "classifier"
    s = batch["predictions"] if is_given else semantic_encoder(image)
    terms: dict[str, Array] = {}
    aux: dict[str, Any] = {
        "semantic_variables": jax.lax.stop_gradient(s),
        "success": jnp.asarray(True),
        "batch_statistics": None,
        "num_steps": {},
        "num_evaluations": {},
    }

    def record(name: str, solution) -> None:
        aux["success"] &= solution.success
        aux["num_steps"][name] = solution.num_steps
        aux["num_evaluations"][name] = solution.num_evaluations

    if "kd" in settings.terms:
        terms["kd"] = jnp.mean(mean_squared_error(s, batch["predictions"]))
    matched = None
    if MATCHING in settings.terms:
        error, matched = flow.mismatch(w_plus, s, draws.base, draws.shares)
        terms[MATCHING] = jnp.mean(error)
        aux["batch_statistics"] = matched
    if not {"nll", "mi", "reg"} & set(settings.terms):
        return terms, aux

    # Only nll needs the log-density: without it the forward pass computes no divergence either.
    forward = flow.forward(w_plus, s, noise=draws.noise if "nll" in settings.terms else None)
    aux["batch_statistics"] = forward.batch_statistics if matched is None else matched
    record("forward", forward)
    if "nll" in settings.terms:
        nll = negative_log_likelihood(
            forward.latents,
            forward.delta_logp,
            reference_constant=settings.conventions.nll_constant,
        )
        terms["nll"] = jnp.mean(nll)
    if not {"mi", "reg"} & set(settings.terms):
        return terms, aux

    s_hat = jax.lax.stop_gradient(jnp.where(draws.edited, draws.values, s))
    statistics = None
    if settings.conventions.statistics_between_passes:
        statistics = flow.moved_statistics(forward.batch_statistics)
    inverse = flow.inverse(forward.latents, s_hat, statistics=statistics)
    record("inverse", inverse)
    if "reg" in settings.terms:
        terms["reg"] = jnp.mean(mean_squared_error(w_plus, inverse.latents))
    if "mi" in settings.terms:
        dtype = settings.generator_dtype and jnp.dtype(settings.generator_dtype)
        # Clipped, so that no gradient comes from beyond what a picture can show.
        resolution = settings.image_resolution or None
        edited = render(generator, inverse.latents, resolution=resolution, dtype=dtype)
        edited = edited.astype(image.dtype)
        reduce = take_nearest if settings.conventions.resize == "nearest" else crop_and_resize
        edited = reduce(edited, image.shape[1])
        # Eq. 6.
        terms["mi"] = jnp.mean(mean_squared_error(semantic_encoder(edited), s_hat))
    return terms, aux
