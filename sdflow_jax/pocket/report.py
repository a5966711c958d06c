"""How good the pocket world's networks are: `python -m sdflow_jax.pocket.report --out DIR`.

Measures reconstructions, samples, the latent space and the classifiers on validation faces, each beside what the
faces themselves allow, and writes `report.json`, `report.md`, `reconstructions.png` and `samples.png`. Needs the
packages of `make pocket-build-environment`: the judges that nobody here trained are among them.
"""

import argparse
import json
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray
from PIL import Image

from sdflow_jax.evaluation.distribution_metrics import frechet_distance, kernel_distance
from sdflow_jax.evaluation.image_metrics import ms_ssim, psnr
from sdflow_jax.files import networks
from sdflow_jax.images.batching import map_batches
from sdflow_jax.pocket.build import labels, sources
from sdflow_jax.pocket.build.autoencoder import pyramid_distance
from sdflow_jax.pocket.build.classifiers import area_under_curve
from sdflow_jax.pocket.build.stages import ANNOTATIONS
from sdflow_jax.pocket.faces import WEIGHTS, PocketFaces
from sdflow_jax.pocket.teacher import to_uint8

BATCH = 64
LATENT_NOISE = 0.1  # deviation, beside 1 of the teacher's latents: a hardly visible change
PATH_STEP = 1e-2  # of the perceptual path length
PROBE_RIDGE = 1.0
SHEET_COLUMNS = 12


class Sets(NamedTuple):
    """Images of one report, uint8 [n, 64, 64, 3], and the latents of the faces.

    Attributes:
      faces: of the teacher.
      others: as many other faces of the teacher.
      renders: `faces` again, from slightly changed latents.
      reconstructions: `faces` through the inversion encoder and the generator.
      halfway: decoded means of the latents of each face and the next.
      samples: z -> w -> face.
      w_plus: latents of `faces`, [n, s, d].
    """

    faces: NDArray[np.uint8]
    others: NDArray[np.uint8]
    renders: NDArray[np.uint8]
    reconstructions: NDArray[np.uint8]
    halfway: NDArray[np.uint8]
    samples: NDArray[np.uint8]
    w_plus: NDArray[np.float32]


def _pixels(images):
    return images.astype(jnp.float32) / 127.5 - 1.0


def _unit(features):
    return features / jnp.linalg.norm(features, axis=1, keepdims=True)


def _runner(network: nnx.Module, function: Callable) -> Callable[..., NDArray]:
    """`function(network, *arrays)`, compiled, over arrays of any length."""
    graph, state = nnx.split(network)
    compiled = jax.jit(lambda state, *arrays: function(nnx.merge(graph, state), *arrays))
    return lambda *arrays: map_batches(lambda *batch: compiled(state, *batch), BATCH, *arrays)


class Networks:
    """The shipped networks as functions of numpy arrays; images are uint8."""

    def __init__(self, weights: pathlib.Path):
        def load(name):
            return networks.load_network(weights / f"{name}.safetensors")

        self.generator = load("generator")
        self.invert = _runner(load("inversion_encoder"), lambda net, x: net(_pixels(x)))
        self.decode = _runner(self.generator, lambda net, w: to_uint8(net.synthesize(w)))
        self.map = _runner(self.generator, lambda net, z: net.map(z))
        classifier, judge = load("classifier"), load("evaluation_classifier")
        self.readers = {
            "C": _runner(classifier, lambda net, x: net(_pixels(x))),
            "evaluation classifier": _runner(judge, lambda net, x: net(_pixels(x))),
        }
        # Of unit length, as dlib's embedding is: on about one image in 300 the length explodes, and with it any Frechet
        # distance.
        self.features = _runner(judge, lambda net, x: _unit(net.extractor(_pixels(x))))


def collect(source: PocketFaces, split: str, nets: Networks, num_faces: int) -> Sets:
    """Render, reconstruct and sample.

    Raises:
      ValueError: if the split has less than twice `num_faces` faces.
    """
    if source.num_faces(split) < 2 * num_faces:
        raise ValueError(
            f"{split} has {source.num_faces(split)} faces; {2 * num_faces} are needed for"
            f" two sets of {num_faces}"
        )
    faces = source.render(source.seeds(split)[: 2 * num_faces])
    faces, others = faces[:num_faces], faces[num_faces:]
    w_plus = nets.invert(faces)
    z = np.random.default_rng(0).standard_normal((num_faces, w_plus.shape[2]))
    styles = nets.map(z.astype(np.float32))
    return Sets(
        faces=faces,
        others=others,
        renders=source.render(source.seeds(split)[:num_faces], latent_noise=LATENT_NOISE),
        reconstructions=nets.decode(w_plus),
        halfway=nets.decode(0.5 * (w_plus + np.roll(w_plus, 1, axis=0))),
        samples=nets.decode(np.repeat(styles[:, None], w_plus.shape[1], axis=1)),
        w_plus=w_plus,
    )


def likeness(sets: Sets) -> dict[str, dict[str, float]]:
    """Pixel measures of reconstructions, and of renders from slightly changed latents."""

    def measure(images):
        a, b = (map_batches(_pixels, BATCH, x) for x in (sets.faces, images))
        return {
            "pyramid L1": float(pyramid_distance(a, b, 4)),
            "PSNR (dB)": float(psnr(a, b).mean()),
            "MS-SSIM": float(ms_ssim(a, b).mean()),
        }

    return {
        "reconstructions": measure(sets.reconstructions),
        "latent noise": measure(sets.renders),
    }


def attribute_agreement(
    sets: Sets, readers: dict[str, tuple[tuple[str, ...], Callable]]
) -> dict[str, dict]:
    """How readings agree between a face and its reconstruction, and a face and its mirror image.

    Returns:
      reader -> attribute -> share of equal decisions and correlation, of both.
    """
    table = {}
    for name, (attributes, read) in readers.items():
        plain, rebuilt = read(sets.faces), read(sets.reconstructions)
        mirrored = read(np.ascontiguousarray(sets.faces[:, :, ::-1]))
        table[name] = {
            attribute: {
                "same decision": float(np.mean((plain[:, i] > 0.5) == (rebuilt[:, i] > 0.5))),
                "correlation": float(np.corrcoef(plain[:, i], rebuilt[:, i])[0, 1]),
                "same decision, mirrored": float(
                    np.mean((plain[:, i] > 0.5) == (mirrored[:, i] > 0.5))
                ),
                "correlation, mirrored": float(np.corrcoef(plain[:, i], mirrored[:, i])[0, 1]),
            }
            for i, attribute in enumerate(attributes)
        }
    return table


def realism(sets: Sets, features: Callable[[NDArray], NDArray]) -> dict[str, dict[str, float]]:
    """Distances of each set from the faces, in one feature space; `other faces` is the least there can be."""
    real = features(sets.faces)
    table = {}
    for name in ("others", "reconstructions", "samples", "halfway"):
        found = features(getattr(sets, name))
        table["other faces" if name == "others" else name] = {
            "Frechet": frechet_distance(real, found),
            "kernel": kernel_distance(real, found),
        }
    return table


def linear_probe(
    codes: NDArray[np.float32], readings: NDArray[np.float32], attributes: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """How well ridge regression on w, the mean of a face's styles, reads C's logits.

    Fitted on the first half of the faces, measured on the other.
    """
    half = len(codes) // 2
    mean, deviation = codes[:half].mean(0), codes[:half].std(0) + 1e-6
    x = np.concatenate([(codes - mean) / deviation, np.ones((len(codes), 1))], axis=1)
    clipped = np.clip(readings, 1e-3, 1.0 - 1e-3)
    logits = np.log(clipped / (1.0 - clipped))
    gram = x[:half].T @ x[:half] + PROBE_RIDGE * np.eye(x.shape[1])
    found = x[half:] @ np.linalg.solve(gram, x[:half].T @ logits[:half])
    decisions = readings[half:] > 0.5
    return {
        attribute: {
            "correlation": float(np.corrcoef(found[:, i], logits[half:, i])[0, 1]),
            "area under the curve": area_under_curve(found[:, i], decisions[:, i].astype(float)),
        }
        for i, attribute in enumerate(attributes)
    }


def path_length(nets: Networks, num_paths: int) -> float:
    """Mean squared distance of unit-length classifier features per squared step between two mapped w.

    Perceptual path length (Karras et al. 2019, section 4.1) at full paths in W, with the evaluation
    classifier's features in place of VGG's: only to compare one version with another.
    """
    rng = np.random.default_rng(1)
    ends = nets.map(
        rng.standard_normal((2 * num_paths, nets.generator.style_dim)).astype(np.float32)
    )
    share = rng.uniform(size=(num_paths, 1)).astype(np.float32)
    seen = []
    for t in (share, share + PATH_STEP):
        w = ends[:num_paths] + t * (ends[num_paths:] - ends[:num_paths])
        styles = np.repeat(w[:, None], nets.generator.num_styles, axis=1)
        seen.append(nets.features(nets.decode(styles)))
    return float(np.square(seen[1] - seen[0]).sum(1).mean() / PATH_STEP**2)


def annotated_areas(source: PocketFaces, nets: Networks) -> dict[str, dict[str, float]]:
    """Areas under the curve of both classifiers on the annotated test faces, which no network was trained on."""
    seeds, truth, is_test = labels.read_annotations(ANNOTATIONS)
    # In the renders of a few annotated seeds the detector finds no face any more.
    chosen = is_test & np.isin(seeds, source.seeds("train"))
    faces = source.render(seeds[chosen])
    return {
        name: {
            attribute: area_under_curve(scores[:, i], truth[chosen, i])
            for i, attribute in enumerate(labels.ANNOTATED)
        }
        for name, read in nets.readers.items()
        for scores in (read(faces),)
    }


def contact_sheet(rows: list[NDArray[np.uint8]], file: pathlib.Path, scale: int = 2) -> None:
    """Draw rows of images, each a strip of `SHEET_COLUMNS`, enlarged."""
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    size = (scale * sheet.shape[1], scale * sheet.shape[0])
    Image.fromarray(sheet).resize(size, Image.Resampling.BICUBIC).save(file)


def measure(weights: pathlib.Path, split: str, num_faces: int) -> tuple[dict, Sets]:
    """Every figure of the report, and the images it is about."""
    source, nets = PocketFaces(weights=weights), Networks(weights)
    age_gender = labels.AgeGender(sources.age_gender_models())
    embed = labels.FaceEmbedding(sources.embedding_model())
    sets = collect(source, split, nets, num_faces)

    def outside(images):
        return labels.in_chunks(age_gender, images, desc="age and gender")

    embedded: dict[int, NDArray] = {}

    def embedding(images):
        # The slowest of all; several sections ask for the same sets.
        if id(images) not in embedded:
            embedded[id(images)] = labels.in_chunks(embed, images, desc="dlib embeddings")
        return embedded[id(images)]

    readers = {name: (labels.ATTRIBUTES, read) for name, read in nets.readers.items()}
    readers["outside networks"] = (labels.ATTRIBUTES[4:], outside)

    def cosine(images):
        return float((embedding(sets.faces) * embedding(images)).sum(1).mean())

    figures = {
        "split": split,
        "faces": num_faces,
        "likeness": likeness(sets),
        "identity": {
            "reconstructions": cosine(sets.reconstructions),
            "latent noise": cosine(sets.renders),
            "other people": cosine(sets.others),
        },
        "attributes": attribute_agreement(sets, readers),
        "realism, evaluation classifier": realism(sets, nets.features),
        "realism, dlib embedding": realism(sets, embedding),
        "linear probe of w": linear_probe(
            sets.w_plus.mean(1), nets.readers["C"](sets.faces), labels.ATTRIBUTES
        ),
        "path length": path_length(nets, num_faces),
        "annotated test faces": annotated_areas(source, nets),
    }
    return figures, sets


def markdown(figures: dict) -> str:
    """The figures as tables."""
    lines = [f"{figures['faces']} {figures['split']} faces.", ""]

    def add_table(title, rows):
        columns = list(next(iter(rows.values())))
        lines.extend([f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"])
        for name, row in rows.items():
            lines.append(f"| {name} | {' | '.join(f'{row[c]:.4g}' for c in columns)} |")
        lines.append("")

    add_table("against the face", figures["likeness"])
    add_table("dlib embedding", {k: {"mean cosine": v} for k, v in figures["identity"].items()})
    for reader, rows in figures["attributes"].items():
        add_table(f"{reader}, face and reconstruction", rows)
    for space in ("evaluation classifier", "dlib embedding"):
        add_table(f"distance from faces, {space}", figures[f"realism, {space}"])
    add_table("linear probe of w for C's readings", figures["linear probe of w"])
    add_table("annotated test faces, area under the curve", figures["annotated test faces"])
    lines.append(
        f"Path length in W, evaluation classifier's features: {figures['path length']:.4g}."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the report")
    parser.add_argument("--weights", type=pathlib.Path, default=WEIGHTS, help="the networks")
    parser.add_argument("--split", default="validation", choices=("validation", "test"))
    parser.add_argument("--num_faces", type=int, default=700, help="faces of each set")
    arguments = parser.parse_args()
    figures, sets = measure(arguments.weights, arguments.split, arguments.num_faces)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "report.json").write_text(json.dumps(figures, indent=1) + "\n")
    (arguments.out / "report.md").write_text(markdown(figures))
    rows = []
    for start in range(0, min(48, arguments.num_faces), SHEET_COLUMNS):
        strip = slice(start, start + SHEET_COLUMNS)
        rows += [sets.faces[strip], sets.reconstructions[strip]]
    contact_sheet(rows, arguments.out / "reconstructions.png")
    contact_sheet(
        [
            sets.samples[i : i + SHEET_COLUMNS]
            for i in range(0, min(48, arguments.num_faces), SHEET_COLUMNS)
        ],
        arguments.out / "samples.png",
    )
    print(markdown(figures))


if __name__ == "__main__":
    main()
