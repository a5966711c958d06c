"""Pictures of colored patches with labels in CelebA's form: faces to a network of three convolutions."""

import contextlib
import pathlib
from collections.abc import Iterator

import jax
import ml_collections
import numpy as np
import pytest
from PIL import Image

from sdflow_jax.files.config_files import read_config
from sdflow_jax.models import resnet

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "classifier.py"
ATTRIBUTES = ("Red", "Bright_Above", "Rare")
SPLITS = {"train": 80, "validation": 30, "test": 20}


def write_patches(directory: pathlib.Path) -> pathlib.Path:
    """Write `images/*.png`, 18 by 22 pixels, `labels.txt` and `partition.txt`; return the directory."""
    rng = np.random.default_rng(0)
    count = sum(SPLITS.values())
    labels = rng.random((count, 3)) < (0.5, 0.5, 0.2)
    (directory / "images").mkdir(parents=True)
    rows, partition = [], []
    codes = np.repeat(np.arange(3), list(SPLITS.values()))
    for place, (has, code) in enumerate(zip(labels, codes, strict=True)):
        pixels = rng.integers(60, 120, (22, 18, 3))
        pixels[..., 0] += 100 * has[0]
        pixels[:10, :, 1] += 100 * has[1]
        pixels[:, :, 2] += 120 * has[2]
        name = f"{place:06d}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(directory / "images" / name)
        rows.append(" ".join([name, *("1" if x else "-1" for x in has)]))
        partition.append(f"{name} {code}")
    text = "\r\n".join([str(count), "  ".join(ATTRIBUTES) + " ", *rows, ""])
    (directory / "labels.txt").write_bytes(text.encode())
    (directory / "partition.txt").write_text("\n".join(partition))
    return directory


def patches_config(directory: pathlib.Path, variant: str = "") -> ml_collections.ConfigDict:
    """The config of a short training on them, in a world that `small_networks` has entered."""
    config = read_config(f"{CONFIG}:{variant}" if variant else CONFIG)
    config.data.update(
        {
            "folder": str(directory / "images"),
            "labels": str(directory / "labels.txt"),
            "partition": str(directory / "partition.txt"),
            "crop": (4, 1, 16),
            "image_size": 16,
            "num_threads": 2,
            "prefetch": 2,
        }
    )
    config.network.update({"depth": 4, "width": 6, "head_sizes": ()})
    config.optimizer.update({"learning_rate": 1e-2, "warmup_steps": 4, "decay_steps": 60})
    config.training.update(
        {"num_steps": 60, "batch_size": 20, "log_every": 5, "checkpoint_every": 20}
    )
    config.validation.every = 10
    return config


@contextlib.contextmanager
def small_networks() -> Iterator[None]:
    """A residual network of depth 4 exists, and what a training says of products is taken back."""
    before = jax.config.jax_default_matmul_precision
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.LAYOUTS, 4, resnet.Layout((1, 0, 0, 0), False))
        yield
    jax.config.update("jax_default_matmul_precision", before)
