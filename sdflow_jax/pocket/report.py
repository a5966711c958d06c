"""Measure the shipped pocket networks: `python -m sdflow_jax.pocket.report [--num-faces N]
[--num-inverted N] [--out DIR]`.

Prints a table, of which the model card keeps a copy. What compares with large renders needs the
package `random-face`, and what published networks read needs `make pocket-build-environment`; without
them these rows are left out.
"""

import argparse
import hashlib
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray
from scipy.stats import spearmanr

from sdflow_jax.classifiers.metrics import area_under_curve
from sdflow_jax.data.image_folder import image_files, read_face
from sdflow_jax.data.image_source import DataError
from sdflow_jax.editor import Editor
from sdflow_jax.evaluation.judges import load_judges
from sdflow_jax.evaluation.published_readers import FaceReadings
from sdflow_jax.evaluation.readers_pool import ReadersPool
from sdflow_jax.files import networks
from sdflow_jax.files.compiled_programs import keep_compiled_programs
from sdflow_jax.files.pictures import write_png
from sdflow_jax.images.batching import map_batches
from sdflow_jax.images.grids import labeled_rows
from sdflow_jax.images.pixels import to_bytes, to_signed
from sdflow_jax.images.precision import in_float32
from sdflow_jax.images.resizing import pool_bytes
from sdflow_jax.pocket.build.codes import CodeMaker
from sdflow_jax.pocket.build.labels import ANNOTATED, ATTRIBUTES, YOUNG_BELOW, Annotations
from sdflow_jax.pocket.faces import FIRST_TEST_SEED
from sdflow_jax.pocket.renderer import RendererMissing, find_renderer

REFINEMENT_STEPS = (0, 100)
PHOTO_SIZE = 256
NUM_ANNOTATED = 800
MEASURED = (
    "generator",
    "inversion_encoder",
    "classifier",
    "evaluation_classifier",
    "identity_encoder",
)
# Goals of the areas: what a linear probe of w reaches, and for Young the age network.
_AREAS = {
    "Eyeglasses": 0.984,
    "Smiling": 0.964,
    "Facial_Hair": 0.969,
    "Wearing_Hat": 0.921,
    "Male": 0.987,
    "Young": 0.97,
}
_MARGIN = 5.0  # years around the threshold that neither count as young nor as old


class Row(NamedTuple):
    """A measured figure, and the goal it was held against, if any."""

    name: str
    value: str
    goal: str = ""


class Pictures(NamedTuple):
    """Test faces: as the student makes them at 64 pixels, and as the renderer does at 256."""

    seeds: NDArray[np.int64]
    student: NDArray[np.uint8]
    renders: NDArray[np.uint8] | None


def weights_digest() -> str:
    """Sixteen hexadecimal digits that change with any of the measured networks."""
    total = hashlib.sha256()
    for role in MEASURED:
        total.update(networks.digest(f"pocket:{role}").encode())
    return total.hexdigest()[:16]


def calibration_error(
    probabilities: NDArray, truth: NDArray[np.bool_], num_bins: int = 10
) -> float:
    """Expected calibration error (Naeini et al. 2015): over bins of equal width, the mean distance
    between what was said and how often it was so, weighted by the faces in each.
    """
    bins = np.minimum((probabilities * num_bins).astype(int), num_bins - 1)
    excess = np.bincount(bins, probabilities - truth, minlength=num_bins)
    return float(np.abs(excess).sum() / len(bins))


def pictures_of_test_faces(num_faces: int) -> Pictures:
    """The first test faces, children included: the annotations cover them all."""
    generator = networks.load_network("pocket:generator")
    seeds = np.arange(FIRST_TEST_SEED, FIRST_TEST_SEED + num_faces)
    w_plus = CodeMaker(generator)(seeds).w_plus()
    student = _runner(generator, lambda net, w: net.synthesize(w, resolution=64), 25)(w_plus)
    try:
        renderer = networks.load_network(find_renderer())
    except RendererMissing as reason:
        print(f"without renders: {reason}")
        return Pictures(seeds, to_bytes(student), None)
    render = _runner(renderer, lambda net, w: net.synthesize(w, resolution=256), 2)
    return Pictures(seeds, to_bytes(student), to_bytes(render(w_plus)))


def student_rows(pictures: Pictures) -> Iterator[Row]:
    """How near the student is to the renderer, and whether the judge decides alike on both."""
    wanted = _shrunk(pictures.renders)
    errors = np.square(to_signed(pictures.student) - to_signed(wanted)).mean((1, 2, 3))
    yield Row("student, PSNR at 64 px, dB", f"{np.mean(10 * np.log10(4 / errors)):.2f}", ">= 25")
    judge = networks.load_network("pocket:evaluation_classifier")
    decided = [_decide(judge, x) > 0.5 for x in (pictures.student, wanted)]
    goals = {"Eyeglasses": 98, "Male": 97, "Young": None}
    for column, name in enumerate(ATTRIBUTES):
        goal = goals.get(name, 95)
        share = (decided[0][:, column] == decided[1][:, column]).mean()
        yield Row(
            f"judge decides alike on student and render, {name}",
            f"{share:.1%}",
            f">= {goal}%" if goal else "",
        )


def classifier_rows(pictures: Pictures, readings: FaceReadings | None) -> Iterator[Row]:
    """Areas under the curve, accuracy at the threshold and calibration: on annotated faces, and for
    Young against the age network where it is clear.
    """
    annotations = Annotations.read()
    shown = {"student's pictures": pictures.student}
    if pictures.renders is not None:
        shown["renders"] = _shrunk(pictures.renders)
    truths = {name: annotations.of(pictures.seeds, name) for name in ANNOTATED}
    if readings is not None:
        years = readings.age - YOUNG_BELOW
        truths["Young"] = np.where(np.abs(years) > _MARGIN, years < 0, np.nan)
    for role in ("classifier", "evaluation_classifier"):
        network = networks.load_network(f"pocket:{role}")
        for kind, images in shown.items():
            scores = _decide(network, images)
            for name, truth in truths.items():
                known = ~np.isnan(truth)
                said, is_so = scores[known, ATTRIBUTES.index(name)], truth[known] == 1
                figures = (
                    f"{area_under_curve(said, is_so):.3f}",
                    f"{((said > 0.5) == is_so).mean():.1%}",
                    f"{calibration_error(said, is_so):.3f}",
                )
                yield Row(
                    f"{role} on {kind}, {name}: area; accuracy; calibration error",
                    "; ".join(figures),
                    f">= {_AREAS[name]}",
                )


def outside_rows(pictures: Pictures, readings: FaceReadings) -> Iterator[Row]:
    """Whether published networks agree with ours, and identity as ours and dlib see it."""
    annotations = Annotations.read()
    grown = (annotations.of(pictures.seeds, "Child") == 0) & ~np.isnan(readings.male)
    judge = networks.load_network("pocket:evaluation_classifier")
    scores = _decide(judge, _shrunk(pictures.renders))
    male, young = ATTRIBUTES.index("Male"), ATTRIBUTES.index("Young")
    agreed = ((scores[:, male] > 0.5) == (readings.male > 0.5))[grown].mean()
    yield Row("gender network agrees with the judge, adults", f"{agreed:.1%}", ">= 94%")
    far = grown & (np.abs(readings.age - YOUNG_BELOW) > _MARGIN)
    agreed = ((scores[:, young] > 0.5) == (readings.age < YOUNG_BELOW))[far].mean()
    yield Row("age network agrees with the judge, adults", f"{agreed:.1%}", ">= 90%")

    found = ~np.isnan(readings.embedding[:, 0])
    judges = load_judges("pocket:evaluation_classifier", "pocket:identity_encoder", image_size=64)
    ours = {
        kind: map_batches(lambda x: judges.judge(to_signed(x)).embeddings, 50, images[found])
        for kind, images in (("renders", _shrunk(pictures.renders)), ("student", pictures.student))
    }
    theirs = readings.embedding[found]
    theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    pairs = np.triu_indices(found.sum(), 1)
    different_people = (ours["renders"] @ ours["renders"].T)[pairs]
    correlation = spearmanr(different_people, (theirs @ theirs.T)[pairs]).statistic
    yield Row("identity: Spearman correlation with dlib's cosines", f"{correlation:.3f}", ">= 0.8")
    same = (ours["renders"] * ours["student"]).sum(1)
    for name, cosines in (
        ("two people", different_people),
        ("render and student of one code", same),
    ):
        low, middle, high = np.percentile(cosines, (5, 50, 95))
        yield Row(
            f"identity cosine of {name}: 5%, median, 95%", f"{low:.3f}, {middle:.3f}, {high:.3f}"
        )


class Inversion(NamedTuple):
    """Pictures, and what their inversions look like after each number of refinement steps.

    Attributes:
      pictures: [n, 256, 256, 3].
      found: steps -> [n, 256, 256, 3].
    """

    pictures: NDArray[np.uint8]
    found: dict[int, NDArray[np.uint8]]


def invert_pictures(pictures: NDArray[np.uint8]) -> Inversion:
    """Invert pictures by the encoder alone, and refined."""
    editor = Editor.from_pretrained("pocket")
    found = {}
    for num_steps in REFINEMENT_STEPS:
        w_plus = editor.invert(pictures, num_steps=num_steps)
        found[num_steps] = to_bytes(editor.synthesize(w_plus, size=pictures.shape[1]))
    return Inversion(pictures, found)


def inversion_rows(about: str, inversion: Inversion, readers: ReadersPool) -> Iterator[Row]:
    """Whether dlib takes an inverted face for the person in the picture."""
    wanted = readers(inversion.pictures).embedding
    for num_steps, pictures in inversion.found.items():
        distances = np.linalg.norm(readers(pictures).embedding - wanted, axis=1)
        low, middle, high = np.nanpercentile(distances, (10, 50, 90))
        yield Row(
            f"inversion of {about}, {num_steps} steps: dlib's distance to the picture, 10%, median, 90%",
            f"{low:.2f}, {middle:.2f}, {high:.2f}",
            "median <= 0.4" if num_steps else "",
        )


def inversion_sheet(inversion: Inversion, num_faces: int = 8) -> NDArray[np.uint8]:
    """Pictures above their inversions, unselected."""
    labels = ["face", *(f"{steps} steps" if steps else "encoder" for steps in inversion.found)]
    rows = (inversion.pictures, *inversion.found.values())
    return labeled_rows(labels, np.stack([row[:num_faces] for row in rows]))


def sheet(pictures: Pictures, num_pairs: int = 64) -> NDArray[np.uint8]:
    """Renders above the student's pictures, eight pairs to a row, unselected; whole rows if there are any."""
    count = min(num_pairs, len(pictures.renders))
    renders = _shrunk(pictures.renders[: count if count < 8 else count - count % 8])
    rows = []
    for start in range(0, len(renders), 8):
        for images in (renders, pictures.student):
            rows.append(np.concatenate(list(images[start : start + 8]), axis=1))
    return np.concatenate(rows)


def _runner(network: nnx.Module, function: Callable, batch_size: int) -> Callable:
    graph, state = nnx.split(network)
    run = jax.jit(lambda state, x: function(nnx.merge(graph, state), x))
    return lambda x: map_batches(lambda part: run(state, part), batch_size, x)


def _decide(network: nnx.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return _runner(network, lambda net, x: net(x), 50)(np.asarray(to_signed(images)))


def _shrunk(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Renders at 64 pixels."""
    return np.asarray(pool_bytes(images, images.shape[1] // 64))


class Report(NamedTuple):
    """Every figure that can be measured here, and pictures by file name."""

    rows: list[Row]
    pictures: dict[str, NDArray[np.uint8]]


def measure(
    pictures: Pictures, num_inverted: int, photos: NDArray[np.uint8] | None = None
) -> Report:
    """Measure the shipped networks on test faces; the first `num_inverted` adults are inverted, and
    so are photos [n, 256, 256, 3].
    """
    found, shown, readers, readings = [], {}, None, None
    if pictures.renders is not None:
        found += student_rows(pictures)
        shown["student.png"] = sheet(pictures)
        _tell(2, "what published networks read")
        try:
            readers = ReadersPool()
            readings = readers(pictures.renders)
        except (ImportError, FileNotFoundError) as reason:
            print(f"without published networks: {reason}")
    _tell(3, "the classifiers")
    found += classifier_rows(pictures, readings)
    if readings is not None:
        found += outside_rows(pictures, readings)
    if readings is not None and num_inverted:
        grown = Annotations.read().of(pictures.seeds, "Child") == 0
        _tell(4, f"inverting {num_inverted} renders")
        inversion = invert_pictures(pictures.renders[grown][:num_inverted])
        found += inversion_rows("renders", inversion, readers)
        shown["inversion.png"] = inversion_sheet(inversion)
    if readings is not None and photos is not None:
        _tell(4, f"inverting {len(photos)} photographs")
        inversion = invert_pictures(photos)
        found += inversion_rows("photographs", inversion, readers)
        shown["photographs.png"] = inversion_sheet(inversion)
    return Report(found, shown)


def _tell(part: int, about: str) -> None:
    """What is measured now, beside the table on stdout."""
    print(f"{part}/4 {about}", file=sys.stderr, flush=True)


def as_markdown(found: list[Row]) -> str:
    """The table of the model card."""
    lines = ["| measured | value | goal |", "|---|---|---|"]
    return "\n".join(lines + [f"| {row.name} | {row.value} | {row.goal} |" for row in found])


@in_float32
def main() -> None:
    """Print the table, and save the pictures."""
    parser = argparse.ArgumentParser(
        prog="python -m sdflow_jax.pocket.report",
        epilog="example: python -m sdflow_jax.pocket.report --num-faces 100 --num-inverted 0",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--num-faces", type=int, default=500, help=f"test faces, at most {NUM_ANNOTATED}"
    )
    parser.add_argument(
        "--num-inverted", type=int, default=24, help="of them to invert; minutes, 0 for none"
    )
    parser.add_argument(
        "--photos", type=pathlib.Path, help="a folder of aligned photographs, to be inverted too"
    )
    parser.add_argument("--out", type=pathlib.Path, help="a folder for pictures")
    arguments = parser.parse_args()
    if not 2 <= arguments.num_faces <= NUM_ANNOTATED:
        parser.error(f"--num-faces must be from 2 to {NUM_ANNOTATED}, got {arguments.num_faces}")
    if arguments.num_inverted < 0:
        parser.error(f"--num-inverted must not be negative, got {arguments.num_inverted}")
    photos = None
    if arguments.photos is not None:
        try:
            files = image_files(arguments.photos)
            photos = np.stack([read_face(file, PHOTO_SIZE) for file in files]) if files else None
        except DataError as error:
            parser.error(f"--photos: {error}")
        if photos is None:
            parser.error(f"--photos: {arguments.photos} holds no picture")
    keep_compiled_programs()
    _tell(1, f"{arguments.num_faces} faces by the student and the renderer")
    report = measure(pictures_of_test_faces(arguments.num_faces), arguments.num_inverted, photos)
    print(f"weights {weights_digest()}\n\n{as_markdown(report.rows)}")
    if arguments.out:
        for name, pixels in report.pictures.items():
            write_png(arguments.out / name, pixels)


if __name__ == "__main__":
    main()
