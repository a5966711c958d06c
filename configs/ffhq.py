"""SDFlow on FFHQ at 1024 pixels, with the paper's networks converted from their PyTorch
checkpoints.

    python -m converters stylegan2-ffhq-config-f.pt --out networks
    python -m converters e4e_ffhq_encode.pt --out networks
    python -m converters CLASSIFIER.pth --out networks
    python train.py --config=configs/ffhq.py --workdir=runs/ffhq --config.data.folder=FFHQ

The way from the downloads to the curves is docs/ffhq.md. The converted files have the names that
stand here; other ones can be given as `--config.networks.generator=FILE` and so on.

`data.folder` holds the 70,000 aligned images, in the order of their names. They are kept at the
size that the inversion encoder takes, 256 pixels. The judges, `networks.evaluation_classifier` and
`networks.identity_encoder`, are only needed by evaluate.py:

    python -m converters OTHER_CLASSIFIER.pth --out networks --name evaluation_classifier
    python -m converters model_ir_se50.pth --out networks
    python evaluate.py --workdir=runs/ffhq \
        --network=evaluation_classifier=networks/evaluation_classifier.safetensors \
        --network=identity_encoder=networks/identity_encoder.safetensors

With `--faces=CELEBA_HQ` as well it edits the aligned images of that directory, as the paper does.

Meant for a GPU of 24 GB: a step takes about 13.5 GB by what its gradient keeps. First every image
passes through the inversion encoder and the classifier, once and for all runs with one
`data.directory`; how long that takes has not been measured. Then come 10,000 steps of 16 faces, with
pictures in `samples/` after every 500: on one H200 53 minutes in float32 through all 1024 pixels
(`--config.training.generator_dtype=float32`), and 28 in bfloat16 where the generator stops at the 256
that the semantic encoder reads (`--config.losses.image_resolution=256`), by the seconds a step in
`benchmarks/README.md`.
"""

import pathlib

import ml_collections
from ml_collections import config_dict

from sdflow_jax.files.config_files import read_config
from sdflow_jax.files.run_config import GROUP_DEFAULTS


def get_config() -> ml_collections.ConfigDict:
    """The pocket config with the paper's sizes."""
    config = read_config(pathlib.Path(__file__).with_name("pocket.py"))
    for role in config.networks:
        config.networks[role] = config_dict.placeholder(str)
    for role in ("generator", "inversion_encoder", "classifier"):
        config.networks[role] = f"networks/{role}.safetensors"

    config.data.update(
        {
            "source": "folder",
            "folder": config_dict.placeholder(str),
            # The paper trains on 69,000 faces and edits the last 1,000; some of the former are held
            # out here for the pictures during training.
            "splits": {
                "train": (0, 68_500),
                "validation": (68_500, 69_000),
                "test": (69_000, 70_000),
            },
            "num_threads": 8,
            **GROUP_DEFAULTS["data"],  # nothing of what only the source "generator" reads
            # Of the source "latents": what `python -m converters.latents` has made.
            "latents": "",
        }
    )
    config.data.limits = ml_collections.ConfigDict()
    config.semantic_encoder.update({"width": 64, "hidden_sizes": (512, 512)})
    config.initial_backbone = ""
    config.losses.update({"reg": 1.0, "image_resolution": 0})
    # More exact than the original's Dopri5 at 1e-5 with its choice of a first step, for fewer evaluations
    # of the field, and its gradient in half the time of recursive checkpoints: docs/performance.md.
    config.solver.update(
        {
            "method": "tsit5",
            "rtol": 1e-4,
            "atol": 1e-4,
            "first_step": 0.25,
            "max_steps": 64,
            "adjoint": "stored_steps",
        }
    )
    config.optimizer.update(
        {
            "learning_rate": 1e-4,
            "backbone_rate": 1.0,
            "schedule": "constant",
            "warmup_steps": 0,
            "gradient_clip": 0.0,
        }
    )
    config.training.update(
        {
            "num_steps": 10_000,
            "generator_dtype": "bfloat16",
            "log_every": 20,
            "sample_every": 500,
            "num_sample_faces": 4,
            "checkpoint_every": 500,
        }
    )
    return config
