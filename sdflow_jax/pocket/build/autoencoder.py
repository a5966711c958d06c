"""Train the inversion encoder and the generator together, as an autoencoder with an adversary.

The generator is StyleGAN2's synthesis network; it never sees a random w, only the encoder's codes and mixtures of two.
Reconstruction: L1 over an average-pooling pyramid, distances between features and decisions of the critic classifier,
and the cosine of the identity encoder's embeddings. Regularisation as e4e's: codes near the origin, one style for all
layers at first, later styles near one another. The discriminator judges reconstructions and decoded mixtures of two
faces' w (non-saturating loss, R1), so that the space between faces holds faces too. Once there is a mapping network, a
second training of the generator alone has samples z -> w in the place of the mixtures.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float
from numpy.typing import NDArray
from optax.contrib import MuonDimensionNumbers, muon
from PIL import Image

from sdflow_jax import networks
from sdflow_jax.pocket.build import trainer
from sdflow_jax.pocket.build.augmentation import mirror
from sdflow_jax.pocket.build.patch_discriminator import (
    PatchDiscriminator,
    adversary_loss,
    smoothness_penalty,
)


@dataclasses.dataclass(frozen=True)
class AutoencoderSettings:
    """Training of encoder and generator."""

    name: str
    num_steps: int
    batch_size: int = 16
    seed: int = 5
    generator_rate: float = 6e-4
    encoder_rate: float = 3e-4
    kernel_rate: float | None = None  # Muon's, for the encoder's kernels; None: Adam's for all
    frozen_stages: int = 0  # of the encoder's body; its stem stays with the first
    discriminator_rate: float = 3e-4
    warmup_steps: int = 100
    momentum: float = 0.5  # Adam's first decay; an adversary asks for less
    encoder_clip: float = 3.0  # of the gradient's norm
    generator_clip: float = 3.0
    discriminator_clip: float = 10.0
    final_fraction: float = 0.1  # of the rates, reached by a cosine
    average_decay: float = 0.998
    pixels: float = 10.0
    eyes: float = 3.0  # weight of the pixels where glasses are, the others' being 1
    features: float = 1.0
    decisions: float = 1.0
    identity: float = 10.0
    code_size: float = 1e-3
    offset_variance: float = 10.0
    adversary: float = 0.25
    r1: float = 0.1
    pyramid_levels: int = 4
    trains_encoder: bool = True
    trains_generator: bool = True
    has_adversary: bool = True
    draws_samples: bool = False  # for the discriminator; else mixtures


def pyramid_distance(
    a: Float[Array, "b h w c"], b: Float[Array, "b h w c"], levels: int
) -> Float[Array, ""]:
    """Mean absolute difference, averaged over `levels` halvings of the resolution."""
    total = jnp.abs(a - b).mean()
    difference = a - b
    for _ in range(levels - 1):
        difference = nnx.avg_pool(difference, (2, 2), strides=(2, 2))
        total += jnp.abs(difference).mean()
    return total / levels


# Rows and columns of an aligned 64px chip where glasses are.
EYES = slice(9, 29), slice(6, 58)


def _eye_distance(a, b):
    """Mean absolute difference of the pixels around the eyes, as a share of the whole image's."""
    difference = jnp.abs(a[:, *EYES] - b[:, *EYES])
    return difference.mean() * (difference.size / a.size)


def _critic_distances(critic, faces, decoded):
    """Relative L1 distance of feature maps, and cross-entropy of the decisions on the faces against the decoded."""
    wanted = [jax.lax.stop_gradient(m) for m in critic.stages(faces)]
    found = critic.stages(decoded)
    features = sum(
        jnp.abs(w - f).mean() / (jnp.abs(w).mean() + 1e-3)
        for w, f in zip(wanted[:3], found[:3], strict=True)
    )
    target = nnx.sigmoid(critic.heads(wanted[3].mean((1, 2))))
    decisions = optax.sigmoid_binary_cross_entropy(critic.heads(found[3].mean((1, 2))), target)
    return features / 3.0, decisions.mean(0).at[0].multiply(
        3.0
    ).mean()  # Eyeglasses are the hardest to keep


def _kernels(params):
    """What Muon makes orthogonal: kernels as matrices, their last axis the output; not a gate's few numbers."""
    return jax.tree.map(
        lambda p: (
            MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1)
            if p.ndim > 1 and p.size > 1000
            else None
        ),
        params,
    )


def train_autoencoder(
    faces: NDArray[np.uint8],
    preview_faces: NDArray[np.uint8],
    critic: nnx.Module,
    identity: nnx.Module,
    arguments: dict[str, dict],
    settings: AutoencoderSettings,
    folder: pathlib.Path,
    *,
    initial: Mapping[str, nnx.Module],
) -> tuple[nnx.Module, nnx.Module]:
    """Train on uint8 faces; returns the averaged encoder and generator in eval mode.

    Args:
      faces: [n, 64, 64, 3].
      preview_faces: faces drawn with their reconstructions into `folder/NAME_previews` now and then.
      critic: a frozen attribute classifier.
      identity: a frozen identity encoder.
      arguments: constructor arguments of InversionEncoder and Generator by name.
      settings: the training.
      folder: for checkpoints, logs and previews.
      initial: networks to start from, by name; random weights where there is none.
    """
    nets = {
        name: networks.build(name, a, seed=settings.seed + i)
        for i, (name, a) in enumerate(arguments.items())
    }
    for name, network in initial.items():
        networks.load_arrays(nets[name], networks.flatten(network), source=name)

    def schedule(rate):
        return optax.warmup_cosine_decay_schedule(
            0.0,
            rate,
            settings.warmup_steps,
            settings.num_steps,
            end_value=settings.final_fraction * rate,
        )

    def optimizer(net, rate, b1, limit, kernel_rate=None):
        if kernel_rate is None:
            rule = optax.adam(schedule(rate), b1=b1, b2=0.99)
        else:
            rule = muon(
                schedule(kernel_rate),
                adam_learning_rate=schedule(rate),
                adam_b1=b1,
                adam_b2=0.99,
                muon_weight_dimension_numbers=_kernels,
            )
        # A rare batch with a tenfold gradient would otherwise undo a hundred steps.
        return nnx.Optimizer(net, optax.chain(optax.clip_by_global_norm(limit), rule), wrt=nnx.Param)

    auto = nnx.Dict(encoder=nets["InversionEncoder"], generator=nets["Generator"])
    # The encoder's batch norms keep the statistics they come with: those of sixteen faces would make
    # a face's code depend on its company.
    auto.eval()
    discriminator = PatchDiscriminator(rngs=nnx.Rngs(settings.seed + len(nets)))
    everything = {
        "auto": auto,
        "encoder_optimizer": optimizer(
            auto.encoder,
            settings.encoder_rate,
            settings.momentum,
            settings.encoder_clip,
            settings.kernel_rate,
        ),
        "generator_optimizer": optimizer(
            auto.generator, settings.generator_rate, settings.momentum, settings.generator_clip
        ),
        "discriminator": discriminator,
        "discriminator_optimizer": optimizer(
            discriminator, settings.discriminator_rate, 0.5, settings.discriminator_clip
        ),
    }
    graph, state = nnx.split(everything)
    state = nnx.to_pure_dict(state)
    state = jax.tree.map(jnp.array, {**state, "average": state["auto"]})
    average_graph = nnx.graphdef(auto)
    frozen_graph, frozen_state = nnx.split((critic, identity))
    num_judged = settings.batch_size // 2  # reconstructions, and as many mixtures or samples
    num_embedded = settings.batch_size // 4  # the embedding is dear, and a quarter tells enough

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, frozen_state, batch, key):
        keys = jax.random.split(key, 3)
        images = mirror(keys[0], batch.astype(jnp.float32) / 127.5 - 1.0)
        learner = nnx.merge(graph, {k: v for k, v in state.items() if k != "average"}, copy=True)
        critic, identity = nnx.merge(frozen_graph, frozen_state)
        wanted_identity = identity(images[:num_embedded])
        judge_graph, judge_state = nnx.split(learner["discriminator"])

        def loss_fn(auto):
            frozen = [] if settings.trains_generator else [auto.generator]
            if settings.frozen_stages:
                body = auto.encoder.body
                frozen += [body.stem, *body.layers[: settings.frozen_stages]]
            for part in frozen:
                nnx.update(part, jax.lax.stop_gradient(nnx.state(part)))
            codes = auto.encoder(images)
            if not settings.trains_encoder:
                codes = jax.lax.stop_gradient(codes)
            if settings.has_adversary:
                if settings.draws_samples:
                    z = jax.random.normal(keys[1], (num_judged, codes.shape[-1]))
                    drawn = jax.lax.stop_gradient(auto.generator.map(z))
                else:
                    share = jax.random.uniform(keys[1], (num_judged, 1))
                    w = codes.mean(axis=1)
                    drawn = w[:num_judged] + share * (w[-num_judged:] - w[:num_judged])
                decoded = auto.generator.synthesize(
                    jnp.concatenate([codes, auto.generator.broadcast(drawn)]), use_noise=False
                )
            else:
                decoded = auto.generator.synthesize(codes, use_noise=False)
            rebuilt = decoded[: len(images)]
            pixels = pyramid_distance(images, rebuilt, settings.pyramid_levels)
            features, decisions = _critic_distances(critic, images, rebuilt)
            embeddings = identity(rebuilt[:num_embedded])
            stranger = 1.0 - (wanted_identity * embeddings).sum(axis=1).mean()
            near_eyes = _eye_distance(images, rebuilt) / settings.pyramid_levels
            loss = (
                settings.pixels * (pixels + (settings.eyes - 1.0) * near_eyes)
                + settings.features * features
                + settings.decisions * decisions
                + settings.identity * stranger
            )
            loss += settings.code_size * jnp.square(codes).mean()
            offsets = codes.var(axis=1).mean()
            loss += settings.offset_variance * offsets
            measured = {
                "pixels": pixels,
                "features": features,
                "decisions": decisions,
                "stranger": stranger,
                "offsets": offsets,
            }
            judged = None
            if settings.has_adversary:
                judged = jnp.concatenate([rebuilt[:num_judged], decoded[len(images) :]])
                fooled = nnx.softplus(
                    -nnx.merge(judge_graph, judge_state, copy=True)(judged)
                ).mean()
                loss += settings.adversary * fooled
                measured["fooled"] = fooled
            return loss, (measured, judged)

        (_, (measured, judged)), grads = nnx.value_and_grad(loss_fn, has_aux=True)(learner["auto"])
        measured["encoder_norm"] = optax.global_norm(grads["encoder"])
        measured["generator_norm"] = optax.global_norm(grads["generator"])
        if settings.trains_encoder:
            learner["encoder_optimizer"].update(learner["auto"].encoder, grads["encoder"])
        if settings.trains_generator:
            learner["generator_optimizer"].update(learner["auto"].generator, grads["generator"])
        if settings.has_adversary:

            def judge_loss(discriminator):
                mistakes = adversary_loss(discriminator, images, judged)
                steepness = smoothness_penalty(discriminator, images)
                return mistakes + 0.5 * settings.r1 * steepness, (mistakes, steepness)

            (_, (mistakes, steepness)), grads = nnx.value_and_grad(judge_loss, has_aux=True)(
                learner["discriminator"]
            )
            learner["discriminator_optimizer"].update(learner["discriminator"], grads)
            measured |= {"judge": mistakes, "steepness": steepness}
        new = nnx.to_pure_dict(nnx.state(learner))
        new["average"] = optax.incremental_update(
            new["auto"], state["average"], 1.0 - settings.average_decay
        )
        return new, measured

    def step(state, index):
        rows = np.random.default_rng((settings.seed, index)).integers(
            len(faces), size=settings.batch_size
        )
        key = jax.random.fold_in(jax.random.key(settings.seed), index)
        return update(state, frozen_state, faces[rows], key)

    def preview(state, index):
        auto = nnx.merge(average_graph, state["average"], copy=True)
        draw_preview(
            auto.encoder,
            auto.generator,
            preview_faces,
            folder / f"{settings.name}_previews" / f"{index:06d}.png",
        )

    state = trainer.train(
        settings.name, state, step, settings.num_steps, folder, preview=preview, preview_every=250
    )
    auto = nnx.merge(average_graph, state["average"], copy=True)
    return auto.encoder, auto.generator


def draw_preview(invert, generator, faces: NDArray[np.uint8], file: pathlib.Path) -> None:
    """A sheet of faces, their reconstructions and mixtures with the next face, twelve a row, at double size."""
    images = jnp.asarray(faces, jnp.float32) / 127.5 - 1.0
    codes = invert(images)
    rebuilt = generator.synthesize(codes, use_noise=False)
    w = codes.mean(axis=1)
    mixed = generator.synthesize(
        generator.broadcast(0.5 * (w + jnp.roll(w, 1, axis=0))), use_noise=False
    )
    print(f"\nmean pyramid distance of previewed faces: {pyramid_distance(images, rebuilt, 4):.4f}")
    rows = []
    for start in range(0, len(faces), 12):
        rows += [
            np.concatenate(list(np.asarray(kind)[start : start + 12]), 1)
            for kind in (images, rebuilt)
        ]
    rows += [np.concatenate(list(np.asarray(mixed)[:12]), 1)]
    sheet = np.clip((np.concatenate(rows) + 1.0) * 127.5, 0, 255).astype(np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    large = (2 * sheet.shape[1], 2 * sheet.shape[0])
    Image.fromarray(sheet).resize(large, Image.Resampling.BICUBIC).save(file)
