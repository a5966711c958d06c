"""Train one half of the autoencoder, the inversion encoder or the generator, for the other half as it is.

Reconstruction: L1 over an average-pooling pyramid, distances between features and decisions of the critic classifier,
and the cosine of the identity encoder's embeddings. The encoder is held as e4e's: codes near the origin, styles near
one another. The generator, which needs a mapping network for it, also has an adversary, so that samples z -> w hold
faces too: a discriminator judges reconstructions and decoded samples (non-saturating loss, R1).
"""

import dataclasses
import functools
import pathlib
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float
from numpy.typing import NDArray
from optax.contrib import MuonDimensionNumbers, muon
from PIL import Image

from sdflow_jax.pocket.build import trainer
from sdflow_jax.pocket.build.augmentation import mirror
from sdflow_jax.pocket.build.patch_discriminator import (
    PatchDiscriminator,
    adversary_loss,
    smoothness_penalty,
)


@dataclasses.dataclass(frozen=True)
class AutoencoderSettings:
    """Training of the encoder or of the generator.

    With `kernel_rate`, kernels learn by Muon (https://kellerjordan.github.io/posts/muon/), the rest by Adam with
    Nesterov's momentum; without, all by Adam.
    """

    learns: Literal["encoder", "generator"]
    num_steps: int
    batch_size: int = 16
    seed: int = 5
    rate: float = 3e-4  # Adam's
    kernel_rate: float | None = None  # Muon's
    frozen_stages: int = 0  # of the encoder's body; its stem stays with the first
    discriminator_rate: float = 3e-4  # as all of the adversary, for the generator only
    warmup_steps: int = 100
    momentum: float = 0.9  # Adam's first decay; an adversary asks for less
    clip: float = 3.0  # of the gradient's norm
    discriminator_clip: float = 10.0
    final_fraction: float = 0.1  # of the rates, reached by a cosine
    average_decay: float = 0.998
    pixels: float = 10.0
    eyes: float = 3.0  # weight of the pixels where glasses are, the others' being 1
    features: float = 1.0
    decisions: float = 1.0
    identity: float = 10.0
    code_size: float = 1e-3  # as offset_variance, for the encoder only
    offset_variance: float = 1.0
    adversary: float = 0.25
    r1: float = 0.1
    pyramid_levels: int = 4


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
    """What Muon makes orthogonal: kernels of more than 1,000 numbers, as matrices whose last axis is the output."""
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
    encoder: nnx.Module,
    generator: nnx.Module,
    critic: nnx.Module,
    identity: nnx.Module,
    settings: AutoencoderSettings,
    folder: pathlib.Path,
) -> nnx.Module:
    """Train the half that `settings.learns` names on uint8 faces; returns its moving average in eval mode.

    Args:
      faces: [n, 64, 64, 3].
      preview_faces: faces drawn with their reconstructions into `folder/NAME_previews` now and then.
      encoder: the inversion encoder.
      generator: the generator.
      critic: a frozen attribute classifier.
      identity: a frozen identity encoder.
      settings: the training, NAME being what learns.
      folder: for checkpoints, logs and previews.
    """

    def schedule(rate):
        return optax.warmup_cosine_decay_schedule(
            0.0,
            rate,
            settings.warmup_steps,
            settings.num_steps,
            end_value=settings.final_fraction * rate,
        )

    def optimizer(net, rule, clip):
        # A rare batch with a tenfold gradient would otherwise undo a hundred steps.
        return nnx.Optimizer(net, optax.chain(optax.clip_by_global_norm(clip), rule), wrt=nnx.Param)

    encoder_learns = settings.learns == "encoder"
    # The encoder's batch norms keep the statistics they come with: those of a batch would make a
    # face's code depend on its company.
    encoder.eval()
    generator.eval()
    learner, other = (encoder, generator) if encoder_learns else (generator, encoder)
    if settings.kernel_rate is None:
        rule = optax.adam(schedule(settings.rate), b1=settings.momentum, b2=0.99)
    else:
        rule = muon(
            schedule(settings.kernel_rate),
            adam_learning_rate=schedule(settings.rate),
            adam_b1=settings.momentum,
            adam_b2=0.99,
            muon_weight_dimension_numbers=_kernels,
        )
    everything = {"learner": learner, "optimizer": optimizer(learner, rule, settings.clip)}
    if not encoder_learns:
        discriminator = PatchDiscriminator(rngs=nnx.Rngs(settings.seed))
        judge_rule = optax.adam(schedule(settings.discriminator_rate), b1=0.5, b2=0.99)
        everything |= {
            "discriminator": discriminator,
            "discriminator_optimizer": optimizer(
                discriminator, judge_rule, settings.discriminator_clip
            ),
        }
    graph, state = nnx.split(everything)
    state = nnx.to_pure_dict(state)
    state = jax.tree.map(jnp.array, {**state, "average": state["learner"]})
    average_graph = nnx.graphdef(learner)
    frozen_graph, frozen_state = nnx.split((other, critic, identity))
    num_judged = settings.batch_size // 2  # reconstructions, and as many samples
    num_embedded = settings.batch_size // 4  # the embedding is dear, and a quarter tells enough

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, frozen_state, batch, key):
        mirror_key, sample_key = jax.random.split(key)
        images = mirror(mirror_key, batch.astype(jnp.float32) / 127.5 - 1.0)
        learning = nnx.merge(graph, {k: v for k, v in state.items() if k != "average"}, copy=True)
        other, critic, identity = nnx.merge(frozen_graph, frozen_state)
        wanted_identity = identity(images[:num_embedded])

        def reconstruction_loss(rebuilt):
            pixels = pyramid_distance(images, rebuilt, settings.pyramid_levels)
            near_eyes = _eye_distance(images, rebuilt) / settings.pyramid_levels
            features, decisions = _critic_distances(critic, images, rebuilt)
            embeddings = identity(rebuilt[:num_embedded])
            stranger = 1.0 - (wanted_identity * embeddings).sum(axis=1).mean()
            loss = (
                settings.pixels * (pixels + (settings.eyes - 1.0) * near_eyes)
                + settings.features * features
                + settings.decisions * decisions
                + settings.identity * stranger
            )
            return loss, {
                "pixels": pixels,
                "features": features,
                "decisions": decisions,
                "stranger": stranger,
            }

        def encoder_loss(encoder):
            if settings.frozen_stages:
                nnx.update(encoder.body.stem, jax.lax.stop_gradient(nnx.state(encoder.body.stem)))
            for part in encoder.body.layers[: settings.frozen_stages]:
                nnx.update(part, jax.lax.stop_gradient(nnx.state(part)))
            codes = encoder(images)
            loss, measured = reconstruction_loss(other.synthesize(codes, use_noise=False))
            offsets = codes.var(axis=1).mean()
            loss += settings.code_size * jnp.square(codes).mean()
            loss += settings.offset_variance * offsets
            return loss, measured | {"offsets": offsets}

        def generator_loss(generator):
            codes = other(images)
            z = jax.random.normal(sample_key, (num_judged, codes.shape[-1]))
            drawn = generator.broadcast(jax.lax.stop_gradient(generator.map(z)))
            decoded = generator.synthesize(jnp.concatenate([codes, drawn]), use_noise=False)
            loss, measured = reconstruction_loss(decoded[: len(images)])
            judged = jnp.concatenate([decoded[:num_judged], decoded[len(images) :]])
            # A copy: the judge's variables belong to the level outside the gradient.
            judge = nnx.clone(learning["discriminator"])
            fooled = nnx.softplus(-judge(judged)).mean()
            return loss + settings.adversary * fooled, (measured | {"fooled": fooled}, judged)

        def judge_loss(discriminator):
            mistakes = adversary_loss(discriminator, images, judged)
            steepness = smoothness_penalty(discriminator, images)
            measured = {"judge": mistakes, "steepness": steepness}
            return mistakes + 0.5 * settings.r1 * steepness, measured

        def learn(name, optimizer_name, loss_fn):
            (_, extra), grads = nnx.value_and_grad(loss_fn, has_aux=True)(learning[name])
            learning[optimizer_name].update(learning[name], grads)
            return extra, optax.tree.norm(grads)

        if encoder_learns:
            measured, norm = learn("learner", "optimizer", encoder_loss)
        else:
            (measured, judged), norm = learn("learner", "optimizer", generator_loss)
            of_judge, _ = learn("discriminator", "discriminator_optimizer", judge_loss)
            measured |= of_judge
        new = nnx.to_pure_dict(nnx.state(learning))
        new["average"] = optax.incremental_update(
            new["learner"], state["average"], 1.0 - settings.average_decay
        )
        return new, measured | {"norm": norm}

    def step(state, index):
        rows = np.random.default_rng((settings.seed, index)).integers(
            len(faces), size=settings.batch_size
        )
        key = jax.random.fold_in(jax.random.key(settings.seed), index)
        return update(state, frozen_state, faces[rows], key)

    def averaged(state):
        return nnx.merge(average_graph, state["average"], copy=True)

    def preview(state, index):
        pair = (averaged(state), other) if encoder_learns else (other, averaged(state))
        draw_preview(
            *pair, preview_faces, folder / f"{settings.learns}_previews" / f"{index:06d}.png"
        )

    state = trainer.train(
        settings.learns, state, step, settings.num_steps, folder, preview=preview, preview_every=250
    )
    return averaged(state)


def draw_preview(encoder, generator, faces: NDArray[np.uint8], file: pathlib.Path) -> None:
    """A sheet of faces, their reconstructions and mixtures with the next face, twelve a row, at double size."""
    images = jnp.asarray(faces, jnp.float32) / 127.5 - 1.0
    codes = encoder(images)
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
