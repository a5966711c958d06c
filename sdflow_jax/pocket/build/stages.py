"""The stages of the pocket build, each reading what earlier ones left in the cache or among the weights."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray
from safetensors.numpy import save
from tqdm import tqdm

from converters.torch_reader import read_checkpoint
from sdflow_jax.files import networks
from sdflow_jax.pocket import faces as pocket_faces
from sdflow_jax.pocket.build import (
    alignment,
    autoencoder,
    classifiers,
    identity,
    labels,
    mapping,
    settings,
    sources,
)
from sdflow_jax.pocket.build.teacher_weights import teacher_arrays
from sdflow_jax.pocket.teacher import teacher_latents, to_uint8

PREVIOUS = (
    "inversion_encoder",
    "generator",
    "classifier",
    "evaluation_classifier",
    "identity_encoder",
)
ANNOTATIONS = pathlib.Path(__file__).parent / "annotations.csv"


class Cache:
    """The build's working folder, with the faces and labels of each split in memory on demand."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def load(self, name: str) -> NDArray:
        """An array left by an earlier stage.

        Raises:
          FileNotFoundError: if that stage has not run.
        """
        file = self.folder / f"{name}.npy"
        if not file.exists():
            raise FileNotFoundError(f"{file} is missing; run the build's earlier stages first")
        return np.load(file)

    def previous(self, name: str) -> nnx.Module:
        """A network of the round before, which the stage `previous` has kept."""
        return networks.load_network(self.folder / "previous" / f"{name}.safetensors")

    def has(self, name: str) -> bool:
        """Whether an earlier stage, or an earlier run of this one, left the array."""
        return (self.folder / f"{name}.npy").exists()

    def save(self, name: str, array: NDArray) -> None:
        """Leave an array for later stages; a killed write leaves the old file."""
        partial = self.folder / f"{name}.partial.npy"
        np.save(partial, array)
        partial.rename(self.folder / f"{name}.npy")


def build_previous(cache: Cache, weights: pathlib.Path) -> None:
    """Keep the networks of the round before, which this round goes on from, out of the way of what it writes.

    Raises:
      FileNotFoundError: if `weights` lacks one of them.
    """
    kept = cache.folder / "previous"
    kept.mkdir(exist_ok=True)
    for name in PREVIOUS:
        if not (kept / f"{name}.safetensors").exists():
            partial = kept / f"{name}.partial"
            shutil.copyfile(weights / f"{name}.safetensors", partial)
            partial.rename(kept / f"{name}.safetensors")


def build_alignments(cache: Cache, weights: pathlib.Path) -> None:
    """Teacher weights, and where the detector finds a face in each of its renders."""
    state_dict = read_checkpoint(sources.teacher_checkpoint())["netG_state_dict"]
    networks.save_arrays(
        weights / "teacher.safetensors",
        "FaceTeacher",
        {},
        {key: value.astype(np.float16) for key, value in teacher_arrays(state_dict).items()},
        notes={
            "source": "gan-face-generate 1.1.1 (MIT), weights.tar, netG_state_dict; batch norms folded"
        },
    )
    graph, state = nnx.split(networks.load_network(weights / "teacher.safetensors"))
    render_batch = jax.jit(lambda state, z: to_uint8(nnx.merge(graph, state)(z)))

    def render(seeds):
        parts = np.array_split(seeds, max(1, len(seeds) // 100))
        return np.concatenate(
            [np.asarray(render_batch(state, teacher_latents(part))) for part in parts]
        )

    annotated, _, _ = labels.read_annotations(ANNOTATIONS)
    seeds, alignments = alignment.build_alignments(
        alignment.seed_chunks(settings.SEED_RANGES, annotated),
        render,
        sources.landmark_model(),
        cache.folder / "alignments",
    )
    table = {"seeds": seeds.astype(np.int32), "alignments": alignments.astype(np.float16)}
    (weights / "alignments.safetensors").write_bytes(save(table))


def build_faces(cache: Cache, weights: pathlib.Path) -> None:
    """The chips of every split."""
    shipped = pocket_faces.PocketFaces(weights=weights)
    for split in pocket_faces.SPLITS:
        cache.save(f"{split}_seeds", shipped.seeds(split))
        cache.save(f"{split}_faces", np.concatenate([images for _, images in shipped.split(split)]))


def build_labels(cache: Cache, weights: pathlib.Path) -> None:
    """Labels [n, 6] of every split in the order of `labels.ATTRIBUTES`, NaN where unknown."""
    age_gender = labels.AgeGender(sources.age_gender_models())
    annotated_seeds, annotated, _ = labels.read_annotations(ANNOTATIONS)
    for split in pocket_faces.SPLITS:
        seeds = cache.load(f"{split}_seeds")
        table = np.full((len(seeds), len(labels.ATTRIBUTES)), np.nan, np.float32)
        table[:, 4:] = labels.in_chunks(
            age_gender, cache.load(f"{split}_faces"), desc=f"age and gender, {split}"
        )
        rows = {seed: row for row, seed in enumerate(seeds)}
        for seed, values in zip(annotated_seeds, annotated, strict=True):
            if seed in rows:
                table[rows[seed], :4] = values
        cache.save(f"{split}_labels", table)


def annotated_test_rows(cache: Cache) -> NDArray[np.int64]:
    """Rows of the training range that hold the 500 annotated test faces; never trained on."""
    seeds, _, is_test = labels.read_annotations(ANNOTATIONS)
    return np.flatnonzero(np.isin(cache.load("train_seeds"), seeds[is_test]))


def classifier_faces(cache: Cache, parity: int) -> classifiers.LabelledFaces:
    """The training faces of one parity and their reconstructions, without the annotated test faces."""
    keep = cache.load("train_seeds") % 2 == parity
    keep[annotated_test_rows(cache)] = False
    variants = [cache.load(f"train_{kind}")[keep] for kind in ("faces", "reconstructions")]
    return classifiers.LabelledFaces(np.stack(variants), cache.load("train_labels")[keep])


def build_encoder(cache: Cache, weights: pathlib.Path) -> None:
    """The inversion encoder, for the generator of the round before."""
    encoder = _train_autoencoder(
        cache,
        settings.ENCODER_TRAINING,
        cache.previous("inversion_encoder"),
        cache.previous("generator"),
    )
    networks.save_network(
        weights / "inversion_encoder.safetensors",
        encoder,
        settings.INVERSION_ENCODER,
        dtype=np.float16,
    )
    # The codes are for this one, whatever a later stage of an earlier attempt has made of it.
    shutil.copyfile(
        cache.folder / "previous" / "generator.safetensors", weights / "generator.safetensors"
    )


def build_generator(cache: Cache, weights: pathlib.Path) -> None:
    """The generator, with samples of its mapping network; the encoder stays."""
    file, mapped = weights / "generator.safetensors", cache.folder / "mapped_generator.safetensors"
    # Kept, so that a second call does not begin from its own result.
    if not mapped.exists():
        partial = mapped.with_suffix(".partial")
        shutil.copyfile(file, partial)
        partial.rename(mapped)
    generator = _train_autoencoder(
        cache,
        settings.GENERATOR_TRAINING,
        networks.load_network(weights / "inversion_encoder.safetensors"),
        networks.load_network(mapped),
    )
    networks.save_network(file, generator, settings.GENERATOR, dtype=np.float16)
    build_reconstructions(cache, weights)


def _train_autoencoder(cache, training, encoder, generator):
    return autoencoder.train_autoencoder(
        cache.load("train_faces"),
        cache.load("validation_faces")[:36],
        encoder,
        generator,
        cache.previous("classifier"),
        cache.previous("identity_encoder"),
        training,
        cache.folder,
    )


def build_reconstructions(cache: Cache, weights: pathlib.Path) -> None:
    """Each face through encoder and generator, and the faces' w codes."""
    encoder = networks.load_network(weights / "inversion_encoder.safetensors")
    generator = networks.load_network(weights / "generator.safetensors")
    graph, state = nnx.split((encoder, generator))

    @jax.jit
    def rebuild(state, images):
        encoder, generator = nnx.merge(graph, state)
        codes = encoder(images.astype(jnp.float32) / 127.5 - 1.0)
        return to_uint8(generator.synthesize(codes)), codes.mean(axis=1)

    for split in pocket_faces.SPLITS:
        faces = cache.load(f"{split}_faces")
        images, codes = [], []
        for start in tqdm(range(0, len(faces), 64), desc=f"reconstructions, {split}"):
            batch = faces[start : start + 64]
            spare = 64 - len(batch)
            image, code = rebuild(state, np.pad(batch, ((0, spare), *[(0, 0)] * 3)))
            images.append(np.asarray(image)[: len(batch)])
            codes.append(np.asarray(code)[: len(batch)])
        if split == "train":
            for stale in cache.folder.glob("train_reconstructions_embeddings_*.npy"):
                stale.unlink()
        cache.save(f"{split}_reconstructions", np.concatenate(images))
        cache.save(f"{split}_codes", np.concatenate(codes))


def build_identity(cache: Cache, weights: pathlib.Path) -> None:
    """The identity encoder, distilled from dlib's embedding on faces and reconstructions."""
    embed = labels.FaceEmbedding(sources.embedding_model())
    count = settings.IDENTITY.num_faces
    images, embeddings = [], []
    for kind in ("train_faces", "train_reconstructions"):
        images.append(cache.load(kind)[:count])
        # Minutes of dlib's time: kept, should the training be killed.
        kept = f"{kind}_embeddings_{count}"
        if not cache.has(kept):
            cache.save(kept, labels.in_chunks(embed, images[-1], desc=f"dlib embeddings, {kind}"))
        embeddings.append(cache.load(kept))
    network = identity.train_identity(
        np.concatenate(images),
        np.concatenate(embeddings),
        settings.IDENTITY,
        cache.folder,
        initial=cache.previous("identity_encoder"),
    )
    held_out = np.concatenate(
        [cache.load("validation_faces")[:256], cache.load("validation_reconstructions")[:256]]
    )
    cosine = (np.asarray(network(held_out / np.float32(127.5) - 1)) * embed(held_out)).sum(1)
    print(
        f"identity encoder: mean cosine to dlib's embedding on validation faces {cosine.mean():.4f}"
    )
    networks.save_network(
        weights / "identity_encoder.safetensors",
        network,
        settings.IDENTITY.arguments,
        dtype=np.float16,
        notes={"validation_cosine_to_teacher": f"{cosine.mean():.4f}"},
    )


def build_mapping(cache: Cache, weights: pathlib.Path) -> None:
    """The generator's mapping network, for the training faces' codes."""
    file = weights / "generator.safetensors"
    generator = networks.load_network(file)
    mapping.fit_mapping(generator, cache.load("train_codes"))
    networks.save_network(file, generator, settings.GENERATOR, dtype=np.float16)


def build_classifier(cache: Cache, weights: pathlib.Path) -> None:
    """C."""
    _build_classifier(cache, weights, "classifier")


def build_evaluation_classifier(cache: Cache, weights: pathlib.Path) -> None:
    """The evaluation classifier."""
    _build_classifier(cache, weights, "evaluation_classifier")


def _build_classifier(cache, weights, name):
    classifier_settings = settings.CLASSIFIERS[name]
    network = classifiers.train_classifier(
        name,
        classifier_faces(cache, classifier_settings.parity),
        classifier_settings,
        cache.folder,
        initial=cache.previous(name),
    )
    rows = annotated_test_rows(cache)
    truth = cache.load("train_labels")[rows]
    scores = classifiers.predict(network, cache.load("train_faces")[rows])
    areas = {
        attribute: round(classifiers.area_under_curve(scores[:, i], truth[:, i]), 4)
        for i, attribute in enumerate(labels.ATTRIBUTES)
    }
    print(f"{name}: area under the curve on annotated test faces {areas}")
    networks.save_network(
        weights / f"{name}.safetensors",
        network,
        classifier_settings.arguments,
        dtype=np.float16,
        notes={"attributes": ",".join(labels.ATTRIBUTES), "area_under_curve": json.dumps(areas)},
    )


def build_sdflow(cache: Cache, weights: pathlib.Path) -> None:
    """The trained SDFlow of the run in `CACHE/run`, in half precision.

    Raises:
      NetworkFileError: if there is no finished run; it is made by
        `python train.py --config=configs/pocket.py --workdir=CACHE/run`.
    """
    for name in ("flow", "semantic_encoder"):
        trained = cache.folder / "run" / "sdflow" / f"{name}.safetensors"
        metadata = networks.read_metadata(trained)
        arguments = metadata.pop("arguments")
        notes = {k: v for k, v in metadata.items() if k not in ("format", "network")}
        networks.save_network(
            weights / f"{name}.safetensors",
            networks.load_network(trained),
            arguments,
            dtype=np.float16,
            notes=notes,
        )
