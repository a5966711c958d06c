"""The stages of the pocket build, each reading what earlier ones left in the cache or among the weights."""

import pathlib
import subprocess
import sys

import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from sdflow_jax.files import networks
from sdflow_jax.files.atomic import write_atomic
from sdflow_jax.files.checkout import beside_package
from sdflow_jax.images.batching import map_batches
from sdflow_jax.images.pixels import to_bytes_on_device
from sdflow_jax.images.resizing import pool_bytes
from sdflow_jax.pocket.build import settings
from sdflow_jax.pocket.build.classifiers import LabelledFaces, train_classifier
from sdflow_jax.pocket.build.codes import NUM_STYLES, Codes
from sdflow_jax.pocket.build.identity import train_identity
from sdflow_jax.pocket.build.inversion import train_inversion
from sdflow_jax.pocket.build.labels import (
    ATTRIBUTES,
    Annotations,
    adults,
    guess_labels,
    label_faces,
    soften_labels,
)
from sdflow_jax.pocket.build.renders import Renders, load_renders, render_chunks
from sdflow_jax.pocket.build.student import initial_student, train_student
from sdflow_jax.pocket.renderer import find_renderer

# Whoever sees any derived weights sees the terms with them.
TERMS = {
    "terms": "for non-commercial research and evaluation: derived from StyleGAN2 (NVIDIA Source Code"
    " License-NC) and FFHQ (CC BY-NC-SA 4.0)",
    "credits": "MobileStyleGAN, Belousov 2021; StyleGAN2, Karras et al. 2020; FFHQ, Karras et al. 2019",
}


class Build:
    """Where the build works and what it has made so far.

    Args:
      cache: working folder, about 6 GB.
      weights: where the finished networks go.
      batch_size: codes that the renderer takes at once; an accelerator wants 50.
    """

    def __init__(self, cache: pathlib.Path, weights: pathlib.Path, batch_size: int):
        self.cache, self.weights, self.batch_size = cache, weights, batch_size
        cache.mkdir(parents=True, exist_ok=True)
        weights.mkdir(parents=True, exist_ok=True)

    def renderer(self) -> nnx.Module:
        """The 1024-pixel network of the installed package `random-face`.

        Raises:
          RendererMissing: if the package is not installed.
        """
        return networks.load_network(find_renderer())

    def network(self, name: str) -> nnx.Module:
        """A network that an earlier stage has made."""
        return networks.load_network(self.weights / f"{name}.safetensors")

    def save(self, name: str, network: nnx.Module, arguments, notes=None) -> None:
        """Keep a finished network, in float16."""
        file = self.weights / f"{name}.safetensors"
        notes = {**TERMS, **(notes or {})}
        networks.save_network(file, network, arguments, dtype=np.float16, notes=notes)

    def renders(self, seeds: NDArray[np.int64]) -> Renders:
        """Faces from the first stage."""
        return load_renders(self.cache / "renders", seeds)


def build_renders(build: Build) -> None:
    """Large pictures of every face of the build, and what published networks read from them."""
    for seeds in (
        settings.TEST_SEEDS,
        settings.VALIDATION_SEEDS,
        settings.TRAINING_SEEDS,
        settings.FREE,
    ):
        render_chunks(build.renderer(), seeds, build.cache / "renders", batch_size=build.batch_size)


def build_adults(build: Build) -> None:
    """The seeds of the faces that look grown up, of which alone the world's data consist."""
    annotations = Annotations.read()
    ranges = (settings.TRAINING_SEEDS, settings.VALIDATION_SEEDS, settings.TEST_SEEDS)
    faces = build.renders(np.concatenate(ranges))
    kept = faces.seeds[adults(faces.seeds, faces.codes.coarse, faces.readings, annotations)]
    file = build.weights / "adult_seeds.npy"
    write_atomic(file, lambda stream: np.save(stream, kept.astype(np.int32)))


def build_student(build: Build) -> None:
    """The generator: the renderer, distilled into a small network."""
    faces = build.renders(np.concatenate([settings.TRAINING_SEEDS, settings.FREE]))
    chosen = settings.STUDENT
    first = Codes(*(part[:6000] for part in faces.codes))
    student = initial_student(build.renderer(), chosen.arguments, first, faces.pictures[:6000])
    student = train_student(student, faces.codes, faces.pictures, chosen, build.cache)
    build.save("generator", student, chosen.arguments)


def build_inversion_encoder(build: Build) -> None:
    """The inversion encoder: from pictures to codes."""
    faces = build.renders(np.concatenate([settings.TRAINING_SEEDS, settings.FREE]))
    chosen, student = settings.INVERSION, build.network("generator")
    encoder = train_inversion(student, faces.codes, faces.pictures, chosen, build.cache)
    build.save("inversion_encoder", encoder, chosen.arguments)


def build_classifiers(build: Build) -> None:
    """The training classifier, from faces of even seeds, and the evaluation classifier, from those of
    odd ones.
    """
    faces = build.renders(np.concatenate([settings.TRAINING_SEEDS, settings.FREE]))
    labels = label_faces(faces.seeds, faces.readings, Annotations.read())
    variants = _variants(build, faces)
    for name, chosen in settings.CLASSIFIERS.items():
        # A probe reads one w, so the codes of two have nobody to label them.
        own = (faces.seeds % 2 == chosen.parity) & (faces.codes.crossover == NUM_STYLES)
        targets = soften_labels(labels, guess_labels(faces.codes.coarse, labels, own))
        learned = LabelledFaces(variants, targets).take(own)
        classifier = train_classifier(name, learned, chosen, build.cache)
        build.save(name, classifier, chosen.arguments, {"attributes": ",".join(ATTRIBUTES)})


def build_identity_encoder(build: Build) -> None:
    """The identity encoder: dlib's face embedding, distilled."""
    faces = build.renders(settings.TRAINING_SEEDS)
    found = ~np.isnan(faces.readings.embedding[:, 0])
    embedding = faces.readings.embedding[found]
    embedding = embedding - settings.MEAN_SHARE * embedding.mean(axis=0)
    embedding = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    variants = _variants(build, faces)[:, found]
    chosen = settings.IDENTITY
    encoder = train_identity(variants, embedding, chosen, build.cache)
    top, left = chosen.crop
    crop = ",".join(str(pixels / 64) for pixels in (top, left, encoder.image_size))
    build.save("identity_encoder", encoder, chosen.arguments, {"crop": crop})


def _variants(build: Build, faces: Renders) -> NDArray[np.uint8]:
    """[2, n, 64, 64, 3]: the renders, and the student's pictures of the same codes."""
    graph, state = nnx.split(build.network("generator"))

    @jax.jit
    def imitate(w_plus):
        return to_bytes_on_device(nnx.merge(graph, state).synthesize(w_plus, resolution=64))

    own = map_batches(lambda *codes: imitate(Codes(*codes).w_plus()), 50, *faces.codes)
    return np.stack([map_batches(lambda x: pool_bytes(x, 2), 500, faces.pictures), own])


def build_sdflow(build: Build) -> None:
    """Flow and semantic encoder, by the command that users run; their files are copied as they are.

    Raises:
      NoCheckoutError: if the package is installed without the command.
      subprocess.CalledProcessError: if the training fails.
    """
    script, config = beside_package("train.py"), beside_package("configs/pocket.py")
    workdir = build.cache / "sdflow"
    command = [sys.executable, str(script), f"--config={config}", f"--workdir={workdir}"]
    subprocess.run(command, check=True, cwd=script.parent)
    for name in ("flow", "semantic_encoder"):
        file = workdir / "sdflow" / f"{name}.safetensors"
        metadata = networks.read_metadata(file)
        notes = {key: metadata[key] for key in ("attributes", "image_size", "num_rows", "step")}
        build.save(name, networks.load_network(file), metadata["arguments"], notes)
