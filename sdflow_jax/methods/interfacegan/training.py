"""Training of InterFaceGAN: one support vector machine for each attribute (Shen et al. 2020).

The hyperplanes separate the faces that the frozen classifier C finds most and least likely to have
an attribute. There is nothing to resume: it takes seconds.
"""

import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from sdflow_jax.data import face_latents
from sdflow_jax.data.image_source import DataError
from sdflow_jax.data.training_latents import TrainingLatents, read_training_latents
from sdflow_jax.files.atomic import write_json
from sdflow_jax.files.attribute_names import attribute_columns
from sdflow_jax.images.precision import in_float32
from sdflow_jax.methods.interfacegan.boundary import (
    Boundary,
    Split,
    count_correct,
    fit_boundary,
    project_boundary,
    save_boundary,
    split_extremes,
)
from sdflow_jax.methods.interfacegan.directions import AttributeDirections
from sdflow_jax.methods.interfacegan.settings import InterFaceGANSettings
from sdflow_jax.methods.latent_editing import LatentEditing, export_editing
from sdflow_jax.methods.method import RunSettings
from sdflow_jax.methods.readers import load_classifier_reader
from sdflow_jax.training.interrupts import Interrupts


@in_float32
def train(
    settings: RunSettings, workdir: pathlib.Path, dataset: pathlib.Path, interrupts: Interrupts
) -> None:
    """Fit the boundaries on the training split and write `workdir/interfacegan`.

    Besides the editing method it holds the boundaries themselves, unprojected, in
    `boundary_ATTRIBUTE.safetensors`, and how well they separate in `boundaries.json`.
    """
    del interrupts  # a signal ends the program at once; nothing is lost
    if jax.process_index() != 0:
        return
    own: InterFaceGANSettings = settings.own
    latents = read_training_latents(dataset)
    boundaries, separations, report = fit_boundaries(
        latents, settings.attributes, own, seed=settings.seed
    )
    directions = unit_directions(boundaries, separations, conditional=own.conditional)
    # One step for all rows, as upstream moves a code of W+.
    num_rows = latents.w_plus.shape[1]
    directions = np.repeat(directions[:, None], num_rows, axis=1)
    mover_arguments = dict(
        zip(("num_attributes", "num_styles", "style_dim"), directions.shape, strict=True)
    )
    mover = AttributeDirections(**mover_arguments, rngs=nnx.Rngs(0))
    mover.directions.set_value(jnp.asarray(directions))
    reader, arguments = load_classifier_reader(settings.networks["classifier"], settings.attributes)
    image_size = face_latents.read_recipe(dataset)["image_size"]
    editing = LatentEditing(mover, reader, attributes=settings.attributes, image_size=image_size)
    directory = workdir / "interfacegan"
    for name, boundary in zip(settings.attributes, boundaries, strict=True):
        save_boundary(directory / f"boundary_{name}.safetensors", boundary)
    write_json(directory / "boundaries.json", report)
    export_editing(
        workdir,
        "interfacegan",
        editing,
        mover_arguments=mover_arguments,
        reader_arguments=arguments,
    )
    for name, entry in report.items():
        if entry["validation_accuracy"] is None:
            print(f"{name}: no extreme faces were kept from the fit to measure the boundary")
            continue
        print(
            f"{name}: {entry['validation_accuracy']:.1%} of {entry['validation_faces']} extreme"
            " faces kept from the fit lie on their side of the boundary"
        )
    print(f"the boundaries are in {directory}")


def fit_boundaries(
    latents: TrainingLatents,
    attributes: Sequence[str],
    settings: InterFaceGANSettings,
    *,
    seed: int,
) -> tuple[list[Boundary], list[float], dict[str, dict[str, float | None]]]:
    """Fit one boundary for each attribute, in W: between the means of the faces' styles.

    The styles of a face are nearly equal. A boundary of all of them, flattened, would lean on their
    small differences, which separate the training faces and show in no picture.

    Args:
      latents: the training faces.
      attributes: the attributes to separate.
      settings: how they are fitted.
      seed: of the choice among the extremes.

    Returns:
      The boundaries; for each the distance along its normal that makes one unit of the classifier's
      probability, by the means of the two extremes; and a report, attribute -> numbers,
      None where there was nothing to measure.

    Raises:
      DataError: if the classifier says the same of all faces on both sides of a boundary.
    """
    means = latents.w_plus.mean(1)  # [f, d]
    boundaries, separations, report = [], [], {}
    for column in attribute_columns(latents.attributes, attributes):
        split = split_extremes(
            latents.predictions[:, column],
            np.random.default_rng(seed),
            chosen=float(settings.extremes),
            train_share=settings.train_share,
        )
        boundary = fit_boundary(means, split, penalty=settings.penalty)
        name = latents.attributes[column]
        separation = _separation(boundary, means, latents.predictions[:, column], split, name)
        correct, count = count_correct(boundary, means, split.validation), len(split.validation[0])
        report[name] = {
            "training_faces": len(split.train[0]),
            "validation_faces": count,
            "validation_accuracy": correct / count if count else None,
            "separation": separation,
        }
        boundaries.append(boundary)
        separations.append(separation)
    return boundaries, separations, report


def _separation(
    boundary: Boundary,
    means: Float[np.ndarray, "f d"],
    probabilities: Float[np.ndarray, " f"],
    split: Split,
    name: str,
) -> float:
    """Distance between the means of the two extremes for each unit of probability between them."""
    indices, labels = split.train
    distance, probability = boundary.distance(means[indices]), probabilities[indices]
    positive, negative = labels > 0, labels < 0
    rise = probability[positive].mean() - probability[negative].mean()
    if rise == 0:
        raise DataError(
            f"{name}: the classifier says the same of all {len(indices)} faces that would tell where its boundary is;"
            " leave it out of config.attributes, or give faces that differ in it"
        )
    return float((distance[positive].mean() - distance[negative].mean()) / rise)


def unit_directions(
    boundaries: Sequence[Boundary], separations: Sequence[float], *, conditional: bool
) -> Float[np.ndarray, "a d"]:
    """How far to move the latent for one unit of a semantic variable.

    A unit crosses the attribute's own boundary by as much as separates two faces whose
    probabilities differ by one. With `conditional` the way runs parallel to
    the boundaries of the other attributes (the paper's conditional manipulation, equation 5), and
    is longer by as much as it is slanted.

    Args:
      boundaries: one for each attribute.
      separations: distance of a unit for each.
      conditional: whether to project the other attributes' normals out.
    """
    normals = [boundary.normal for boundary in boundaries]
    directions = []
    for index, (normal, separation) in enumerate(zip(normals, separations, strict=True)):
        others = [*normals[:index], *normals[index + 1 :]] if conditional else []
        direction = project_boundary(normal, *others)
        directions.append(separation / float(normal @ direction) * direction)
    return np.stack(directions).astype(np.float32)
