"""Training of an attribute classifier on labeled pictures; the best network by validation is kept."""

import math
import pathlib
from typing import Any

import grain
import jax
import numpy as np
from flax import nnx

from sdflow_jax.classifiers.losses import answer_weights, known_accuracy, known_cross_entropy
from sdflow_jax.classifiers.measuring import Predict, make_predict, summary_of, write_scores
from sdflow_jax.classifiers.metrics import score_answers
from sdflow_jax.classifiers.settings import ClassifierSettings
from sdflow_jax.data.labeled_pictures import (
    LabeledPictures,
    check_pictures,
    describe_pictures,
    names_of_thresholds,
    open_labeled_pictures,
)
from sdflow_jax.data.pipeline import describe_batches, shuffled_batches
from sdflow_jax.files import networks
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.images.precision import in_float32
from sdflow_jax.models.attribute_classifier import AttributeClassifier
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.optimizer import build_optimizer
from sdflow_jax.training.resumable import has_begun, train_resumably
from sdflow_jax.training.sharding import DataParallel
from sdflow_jax.training.state import Graphs, State, create_state, evaluation_networks
from sdflow_jax.training.step import Losses, TrainStep, make_train_step
from sdflow_jax.training.validation import Validation

SCORES_FILE = "scores.csv"


@in_float32
def train(settings: ClassifierSettings, workdir: pathlib.Path, interrupts: Interrupts) -> None:
    """Train from the beginning or the last checkpoint, and write `workdir/ROLE.safetensors`: the best
    network by validation. How good it is stands in `workdir/scores.csv`.

    Raises:
      RunCheckpointError: if a checkpoint does not fit.
      ConfigError: if the devices cannot share a batch evenly.
      DataError: if labels and pictures do not fit each other, or a picture cannot be read.
      TrainingDiverged: if several steps in a row gave numbers that are not finite.
    """
    devices = DataParallel(settings.batch_size)
    splits, attributes = open_labeled_pictures(
        settings.data, settings.attributes, settings.age_thresholds
    )
    if not has_begun(workdir):
        check_pictures(splits, settings.data)
    names = (*attributes, *names_of_thresholds(settings.age_thresholds))
    arguments = {
        **settings.network,
        "num_attributes": len(attributes),
        "num_age_thresholds": len(settings.age_thresholds),
    }
    graphs, state = create_state(
        lambda: AttributeClassifier(**arguments, rngs=nnx.Rngs(settings.seed)),
        build_optimizer(settings.optimizer),
        seed=settings.seed,
        keeps_average=settings.average_decay > 0,
    )
    notes = _notes(settings, attributes)
    predict = make_predict(
        settings.batch_size,
        num_threads=settings.data.num_threads,
        prefetch=settings.data.prefetch,
    )

    def measure(state: State) -> dict[str, float]:
        network, faces = evaluation_networks(graphs, state), splits["validation"]
        return summary_of(score_answers(predict(network, faces), faces.labels), names)

    def save(file: pathlib.Path, state: State, step: int) -> None:
        network = evaluation_networks(graphs, state)
        networks.save_network(file, network, arguments, notes={**notes, "step": str(step)})

    validation = Validation(
        workdir,
        every=settings.validate_every,
        measure=measure,
        chosen_by=settings.choose_by,
        save=save,
        shown=("accuracy", "area"),
        num_kept=_num_kept(settings),
    )
    batches, data = _open_batches(settings, splits, workdir)
    _, is_done = train_resumably(
        devices.replicate(state),
        batches,
        _train_step(settings, graphs, splits["train"], devices),
        directory=workdir,
        schedule=settings.schedule,
        data=data,
        devices=devices,
        interrupts=interrupts,
        validation=validation,
        shown=("loss", "accuracy"),
        title=settings.role.replace("_", " "),
    )
    if is_done and jax.process_index() == 0:
        _export(settings, workdir, validation, splits, names, predict)


def _train_step(
    settings: ClassifierSettings, graphs: Graphs, faces: LabeledPictures, devices: DataParallel
) -> TrainStep:
    weights = answer_weights(faces.labels, settings.balance)

    def losses(network, frozen, batch, key) -> Losses:
        del frozen  # there are none
        logits = network.logits(settings.augmentation(key, to_signed(batch["image"])))
        loss = known_cross_entropy(logits, batch["labels"], weights)
        accuracy = known_accuracy(logits, batch["labels"])
        return Losses({"cross_entropy": loss}, measured={"accuracy": accuracy})

    return make_train_step(
        graphs,
        losses,
        weights={"cross_entropy": 1.0},
        average_decay=settings.average_decay,
        sharding=devices.replicated,
    )


def _open_batches(
    settings: ClassifierSettings, splits: dict[str, LabeledPictures], workdir: pathlib.Path
) -> tuple[grain.DatasetIterator, dict[str, Any]]:
    """Batches of this process's share of the training faces, and what they follow from."""
    faces = splits["train"]
    order = {
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "process_count": jax.process_count(),
    }
    batches = shuffled_batches(
        faces,
        **order,
        process_index=jax.process_index(),
        num_threads=settings.data.num_threads,
        prefetch=settings.data.prefetch,
    )
    directory = settings.data.directory or workdir / "data"
    content = describe_pictures(splits, settings.data, directory)
    columns = range(faces.labels.shape[1])
    return batches, describe_batches(content, len(faces), columns, **order)


def _notes(settings: ClassifierSettings, attributes: tuple[str, ...]) -> dict[str, str]:
    """What the network file says of its network, as its users read it."""
    notes = {"attributes": ",".join(attributes), "image_size": str(settings.data.image_size)}
    if settings.age_thresholds:
        notes["age_thresholds"] = ",".join(f"{years:g}" for years in settings.age_thresholds)
    return notes


def _num_kept(settings: ClassifierSettings) -> int:
    """Files of best networks: as many as can have been the best since the oldest checkpoint that is
    kept while another is written.
    """
    schedule = settings.schedule
    measured = math.ceil(schedule.checkpoint_every / settings.validate_every)
    return (schedule.keep_checkpoints + 1) * measured + 1


def _export(
    settings: ClassifierSettings,
    workdir: pathlib.Path,
    validation: Validation,
    splits: dict[str, LabeledPictures],
    names: tuple[str, ...],
    predict: Predict,
) -> None:
    step, best = validation.best()
    network = networks.load_network(best)
    measured = {name: splits[name] for name in ("validation", "test") if name in splits}
    scores = write_scores(workdir / SCORES_FILE, network, measured, names, predict)
    metadata = networks.read_metadata(best)
    notes = {key: metadata[key] for key in (*_notes(settings, ()), "step")}
    file = workdir / f"{settings.role}.safetensors"
    networks.save_network(file, network, metadata["arguments"], notes=notes)
    for split, found in scores.items():
        accuracy, area = (
            np.nanmean([getattr(x, key) for x in found]) for key in ("accuracy", "area")
        )
        print(f"{split}: accuracy {accuracy:.1%}, area under the curve {area:.3f}, in the mean")
    print(
        f"the network of step {step} is in {file}; give it as --config.networks.{settings.role}={file}"
    )
