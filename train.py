"""Train SDFlow.

    python train.py --config=configs/pocket.py --workdir=runs/pocket
    python train.py --config=configs/ffhq.py --workdir=runs/ffhq --config.training.batch_size=16

The working directory gets `config.json`, `data/` (faces with their latents, built once),
`checkpoints/`, `metrics.csv`, `tensorboard/`, `samples/` and, when training ends, `sdflow/` with
the trained networks. The same command continues a run that was stopped in any way, to the same
bits. SIGINT (Ctrl-C) and SIGTERM save a checkpoint and exit with status 0; a second one exits at
once.
"""

import functools
import pathlib

import jax
import numpy as np
from absl import app, flags, logging
from jax.experimental import multihost_utils
from ml_collections import config_flags

from sdflow_jax.config import (
    ConfigError,
    check_config,
    check_resumable,
    load_config,
    save_config,
    to_json,
)
from sdflow_jax.data import face_latents
from sdflow_jax.data.attribute_names import attribute_columns
from sdflow_jax.data.image_source import DataError
from sdflow_jax.data.pipeline import describe_batches, training_batches
from sdflow_jax.networks import NetworkFileError
from sdflow_jax.training import build
from sdflow_jax.training.checkpoint import CheckpointError, Checkpoints
from sdflow_jax.training.export import export_networks
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.loop import Schedule, train
from sdflow_jax.training.metrics_log import MetricsLog, TrainingDiverged
from sdflow_jax.training.sample_grid import make_drawing
from sdflow_jax.training.sharding import DataParallel
from sdflow_jax.training.state import create_state, evaluation_networks
from sdflow_jax.training.step import make_train_step

CONFIG = config_flags.DEFINE_config_file("config", None, "The config file.", lock_config=True)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the run; one that holds a run continues it."
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Several processes train together, on one working directory."
)
COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0; with the next two, where jax cannot find out itself.",
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes train together.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
flags.mark_flags_as_required(["config", "workdir"])


def run(config, workdir: pathlib.Path, interrupts: Interrupts) -> None:
    """Train as the config says, from the beginning or from where the run in `workdir` stopped."""
    check_config(config)
    plain = to_json(config)
    training = config.training
    is_first = jax.process_index() == 0
    devices = DataParallel(training.batch_size)
    checkpoints = Checkpoints(workdir / "checkpoints", keep=training.keep_checkpoints)
    if checkpoints.latest_step is not None:
        check_resumable(load_config(workdir), plain)
    if is_first:
        save_config(workdir, config)

    dataset = _prepared_data(plain, workdir)
    recipe = face_latents.read_recipe(dataset)
    faces = face_latents.open_split(dataset, "train")
    columns = attribute_columns(recipe["attributes"], config.attributes)
    order = {
        "batch_size": training.batch_size,
        "seed": config.seed,
        "process_count": jax.process_count(),
    }
    batches = training_batches(
        faces,
        columns,
        **order,
        process_index=jax.process_index(),
        num_threads=config.data.num_threads,
        prefetch=config.data.prefetch,
    )
    data = describe_batches(dataset.parent.name, len(faces), columns, **order)

    generator = build.load_generator(plain, recipe["latent_shape"])
    arguments = build.network_arguments(plain, generator.style_dim)
    weights, settings = build.loss_settings(plain)
    average_decay = config.optimizer.ema_decay
    backbone = build.load_backbone(config.initial_backbone) if config.initial_backbone else None
    graphs, state = create_state(
        functools.partial(build.build_networks, arguments, config.seed, backbone),
        build.build_optimizer(plain["optimizer"]),
        seed=config.seed,
        keeps_average=average_decay > 0,
    )
    state = devices.replicate(state)
    train_step = make_train_step(
        graphs,
        generator,
        weights=weights,
        settings=settings,
        average_decay=average_decay,
        sharding=devices.replicated,
    )
    draw = make_drawing(
        generator, *_held_out_faces(dataset, training.num_sample_faces), config.attributes
    )

    first_step, unfinished = 0, None
    if checkpoints.latest_step is not None:
        first_step, state, batches, unfinished = checkpoints.restore(
            state, batches, data, devices.replicated
        )
        print(f"continuing after step {first_step}")
    log = MetricsLog(
        workdir,
        first_step=first_step,
        num_steps=training.num_steps,
        batch_size=training.batch_size,
        log_every=training.log_every,
        unfinished=unfinished,
        is_silent=not is_first,
    )
    try:
        with interrupts.deferred():
            state, step = train(
                state,
                batches,
                first_step=first_step,
                schedule=Schedule(
                    training.num_steps, training.checkpoint_every, training.sample_every
                ),
                train_step=train_step,
                devices=devices,
                log=log,
                checkpoints=checkpoints,
                data=data,
                interrupts=interrupts,
                draw=lambda state: draw(evaluation_networks(graphs, state)),
                workdir=workdir,
            )
    finally:
        log.close()
        checkpoints.close()
    if step < training.num_steps:
        print(f"{interrupts.received}: stopped after step {step}; the same command continues")
    elif is_first:
        directory = export_networks(
            workdir,
            evaluation_networks(graphs, state),
            arguments,
            attributes=config.attributes,
            image_size=recipe["image_size"],
            step=step,
        )
        print(f"the trained networks are in {directory}")


def _prepared_data(plain, workdir: pathlib.Path) -> pathlib.Path:
    """Build the data set in the first process; the others wait and find it built."""
    if jax.process_index() == 0:
        build.prepare_data(plain, workdir)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("the data set is built")
    return build.prepare_data(plain, workdir)


def _held_out_faces(dataset: pathlib.Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    faces = face_latents.open_split(dataset, face_latents.held_out_split(dataset))
    chosen = [faces[i] for i in range(min(count, len(faces)))]
    return np.stack([face["image"] for face in chosen]), np.stack([f["w_plus"] for f in chosen])


def main(argv: list[str]) -> None:
    """Set jax up and run; a mistake of the user's ends the program with one sentence."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.ERROR)  # orbax and tfds tell twenty things about every file
    if DISTRIBUTED.value:
        jax.distributed.initialize(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    if CONFIG.value.training.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", CONFIG.value.training.compilation_cache)
    jax.config.update("jax_default_matmul_precision", CONFIG.value.training.matmul_precision)
    with Interrupts() as interrupts:
        try:
            run(CONFIG.value, pathlib.Path(WORKDIR.value).expanduser().absolute(), interrupts)
        except (
            ConfigError,
            DataError,
            NetworkFileError,
            CheckpointError,
            TrainingDiverged,
        ) as error:
            raise SystemExit(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    app.run(main)
