"""Runs on the tiny world that are over in seconds: a config of them, and what they leave behind."""

import hashlib
import json
import pathlib
from collections.abc import Mapping

import ml_collections
import numpy as np

from reliability.tiny_world import EDITED_ATTRIBUTES, tiny_config
from sdflow_jax.data import face_latents
from sdflow_jax.data.image_source import SPLITS
from sdflow_jax.files.config_files import read_config

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"


def quick_config(world: pathlib.Path, method: str) -> ml_collections.ConfigDict:
    """A training of a few steps: "latent_transformer" compiles fastest, in two stages, "sdflow" not."""
    config = tiny_config(world)
    if method == "sdflow":
        # No generator and no step size control: what is killed here is not the mathematics.
        config.losses.update({"mi": 0.0, "reg": 0.0})
        config.solver.update({"method": "heun", "num_steps": 2})
    else:
        tiny, config = config, read_config(CONFIGS / "baselines" / f"{method}.py")
        for group in ("networks", "data", "training"):
            config[group].update(tiny[group])
        config.attributes = EDITED_ATTRIBUTES
        config.latent_classifier = {"hidden_sizes": (8,), "num_steps": 8}
    config.training.update({"num_steps": 16, "sample_every": 0, "checkpoint_every": 3})
    return config


def trained_fingerprint(workdir: pathlib.Path) -> dict[str, str]:
    """Everything of a finished training that must not depend on how often it was stopped."""
    found = files_fingerprint(workdir, "*/*.safetensors", "samples/*.png", "config.json")
    for file in sorted(workdir.rglob("metrics.csv")):
        # The last column is the speed.
        lines = [line.rpartition(",")[0] for line in file.read_text().splitlines()]
        found[str(file.relative_to(workdir))] = "\n".join(lines)
    for folder in sorted(workdir.rglob("checkpoints")):
        last = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
        told = json.loads((folder / str(last) / "notes" / "metadata").read_text())
        found[str(folder.relative_to(workdir))] = f"{last} {told['content']}"
    return found


def data_fingerprint(dataset: pathlib.Path) -> dict[str, str]:
    """Every face of a data set."""
    recipe = face_latents.read_recipe(dataset)
    found = {"recipe": json.dumps(recipe, sort_keys=True)}
    for split in SPLITS:
        if recipe["num_faces"][split]:
            digest = hashlib.sha256()
            faces = face_latents.open_split(dataset, split)
            for i in range(len(faces)):
                for _, value in sorted(faces[i].items()):
                    digest.update(np.ascontiguousarray(value))
            found[split] = digest.hexdigest()
    return found


def files_fingerprint(directory: pathlib.Path, *patterns: str) -> dict[str, str]:
    """Path -> digest, of files that have got their final name."""
    files = sorted({file for pattern in patterns for file in directory.glob(pattern)})
    return {
        str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file() and not file.name.startswith(".") and ".partial" not in file.name
    }


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """The names whose content is missing, surplus or other."""
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
