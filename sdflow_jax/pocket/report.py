"""Measure the shipped pocket networks: `python -m sdflow_jax.pocket.report [--num-faces N] [--out DIR]`.

Prints a table, of which the model card keeps a copy. What compares with large renders needs the
package `random-face`, and what published networks read needs `make pocket-build-environment`; without
them these rows are left out.
"""

import argparse
import hashlib
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata, spearmanr

from sdflow_jax.evaluation.published_readers import FaceReadings, PublishedReaders
from sdflow_jax.files import networks
from sdflow_jax.files.atomic import write_atomic
from sdflow_jax.images.batching import map_batches
from sdflow_jax.images.pixels import to_bytes, to_signed
from sdflow_jax.images.precision import in_float32
from sdflow_jax.images.resizing import average_pool
from sdflow_jax.pocket.build.codes import CodeMaker
from sdflow_jax.pocket.build.labels import ANNOTATED, ATTRIBUTES, YOUNG_BELOW, Annotations
from sdflow_jax.pocket.renderer import RendererMissing, find_renderer

FIRST_TEST_SEED = 60_000
NUM_ANNOTATED = 800
MEASURED = ("generator", "classifier", "evaluation_classifier", "identity_encoder")
_MARGIN = 5.0  # years around the threshold that neither count as young nor as old


class Row(NamedTuple):
    """A measured figure, and the goal it was held against, if any."""

    name: str
    value: str
    goal: str = ""


class Pictures(NamedTuple):
    """Test faces: as the student draws them at 64 pixels, and as the renderer does at 256."""

    seeds: NDArray[np.int64]
    student: NDArray[np.uint8]
    renders: NDArray[np.uint8] | None


def weights_digest() -> str:
    """Sixteen hexadecimal digits that change with any of the measured networks."""
    total = hashlib.sha256()
    for role in MEASURED:
        total.update(networks.digest(f"pocket:{role}").encode())
    return total.hexdigest()[:16]


def area_under_curve(scores: NDArray, is_positive: NDArray[np.bool_]) -> float:
    """Area under the receiver operating curve: how often a positive outscores a negative."""
    ranks, count = rankdata(scores), is_positive.sum()
    above = ranks[is_positive].sum() - count * (count + 1) / 2
    return float(above / (count * (~is_positive).sum()))


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
    errors = np.square((pictures.student / 1.0 - wanted) / 127.5).mean((1, 2, 3))
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
    """Areas under the curve on annotated faces, and accuracy at the threshold."""
    annotations = Annotations.read()
    goals = (0.984, 0.964, 0.969, 0.921, 0.987)
    shown = {"student's": pictures.student}
    if pictures.renders is not None:
        shown["renders"] = _shrunk(pictures.renders)
    for role in ("classifier", "evaluation_classifier"):
        network = networks.load_network(f"pocket:{role}")
        for kind, images in shown.items():
            scores = _decide(network, images)
            for column, (name, goal) in enumerate(zip(ANNOTATED, goals, strict=True)):
                truth = annotations.of(pictures.seeds, name)
                known = ~np.isnan(truth)
                area = area_under_curve(scores[known, column], truth[known] == 1)
                right = ((scores[known, column] > 0.5) == (truth[known] == 1)).mean()
                yield Row(
                    f"{role} on {kind} pictures, {name}: area; accuracy",
                    f"{area:.3f}; {right:.1%}",
                    f">= {goal}",
                )
            if readings is not None:
                counts = np.abs(readings.age - YOUNG_BELOW) > _MARGIN
                young = readings.age[counts] < YOUNG_BELOW
                area = area_under_curve(scores[counts, 5], young)
                right = ((scores[counts, 5] > 0.5) == young).mean()
                yield Row(
                    f"{role} on {kind} pictures, Young: area; accuracy",
                    f"{area:.3f}; {right:.1%}",
                    ">= 0.97",
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
    encoder = networks.load_network("pocket:identity_encoder")
    ours = {
        kind: _runner(encoder, lambda net, x: net(x), 50)(np.asarray(to_signed(images[found])))
        for kind, images in (("ren", _shrunk(pictures.renders)), ("stu", pictures.student))
    }
    theirs = readings.embedding[found]
    theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    pairs = np.triu_indices(found.sum(), 1)
    strangers = (ours["ren"] @ ours["ren"].T)[pairs]
    correlation = spearmanr(strangers, (theirs @ theirs.T)[pairs]).statistic
    yield Row("identity: Spearman correlation with dlib's cosines", f"{correlation:.3f}", ">= 0.8")
    same = (ours["ren"] * ours["stu"]).sum(1)
    for name, cosines in (("two people", strangers), ("render and student of one code", same)):
        low, middle, high = np.percentile(cosines, (5, 50, 95))
        yield Row(
            f"identity cosine of {name}: 5%, median, 95%", f"{low:.3f}, {middle:.3f}, {high:.3f}"
        )


def sheet(pictures: Pictures, num_pairs: int = 64) -> NDArray[np.uint8]:
    """Renders above the student's pictures, eight pairs to a row, unselected."""
    renders = _shrunk(pictures.renders[:num_pairs])
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


@jax.jit
def _pooled(images):
    return jnp.rint(average_pool(images.astype(jnp.float32), images.shape[1] // 64))


def _shrunk(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Renders at 64 pixels."""
    return np.asarray(_pooled(images)).astype(np.uint8)


def rows(pictures: Pictures) -> list[Row]:
    """Every figure that can be measured here."""
    found, readings = [], None
    if pictures.renders is not None:
        found += student_rows(pictures)
        try:
            readings = PublishedReaders()(pictures.renders)
        except (ImportError, FileNotFoundError) as reason:
            print(f"without published networks: {reason}")
    found += classifier_rows(pictures, readings)
    if readings is not None:
        found += outside_rows(pictures, readings)
    return found


def as_markdown(found: list[Row]) -> str:
    """The table of the model card."""
    lines = ["| measured | value | goal |", "|---|---|---|"]
    return "\n".join(lines + [f"| {row.name} | {row.value} | {row.goal} |" for row in found])


@in_float32
def main() -> None:
    """Print the table, and draw the pairs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--num-faces", type=int, default=500, help=f"test faces, at most {NUM_ANNOTATED}"
    )
    parser.add_argument("--out", type=pathlib.Path, help="a folder for pictures")
    arguments = parser.parse_args()
    if not 2 <= arguments.num_faces <= NUM_ANNOTATED:
        parser.error(f"--num-faces must be from 2 to {NUM_ANNOTATED}, got {arguments.num_faces}")
    pictures = pictures_of_test_faces(arguments.num_faces)
    print(f"weights {weights_digest()}\n\n{as_markdown(rows(pictures))}")
    if arguments.out and pictures.renders is not None:
        pairs = Image.fromarray(sheet(pictures))
        write_atomic(arguments.out / "student.png", lambda stream: pairs.save(stream, format="PNG"))


if __name__ == "__main__":
    main()
