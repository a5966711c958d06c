"""A face world small enough for tests: 32-pixel pictures and random networks that build in seconds.

world = build_tiny_world(tmp_path)            # network files and a folder of pictures
config = tiny_config(world)                   # or --config=tests/tiny_world.py:DIRECTORY
"""

import pathlib

import ml_collections
import numpy as np
from PIL import Image

from sdflow_jax.files import networks
from sdflow_jax.files.config_files import read_config
from sdflow_jax.files.run_config import GROUP_DEFAULTS

IMAGE_SIZE = 32
STYLE_DIM = 16
ATTRIBUTES = ("Eyeglasses", "Wearing_Hat", "Male", "Young")
EDITED_ATTRIBUTES = ("Young", "Eyeglasses")
NUM_FACES = {"train": 40, "validation": 6, "test": 10}

_WIDTHS = (4, 4, 8, 8, 8)
_UNITS = (1, 1, 1, 1)
_CLASSIFIER = {
    "depth": 18,
    "num_attributes": len(ATTRIBUTES),
    "num_age_thresholds": 0,
    "width": 4,
    "stem_pool": False,
    "head_sizes": (),
}
_NETWORKS = {
    "generator": (
        "Generator",
        {
            "resolution": IMAGE_SIZE,
            "style_dim": STYLE_DIM,
            "channels": {"4": 8, "8": 8, "16": 8, "32": 4},
            "num_mapping_layers": 2,
        },
    ),
    "inversion_encoder": (
        "InversionEncoder",
        {
            "image_size": IMAGE_SIZE,
            "num_styles": 8,
            "style_dim": STYLE_DIM,
            "widths": _WIDTHS,
            "units": _UNITS,
            "head_width": 8,
        },
    ),
    "classifier": ("AttributeClassifier", _CLASSIFIER),
    "evaluation_classifier": ("AttributeClassifier", _CLASSIFIER),
    "identity_encoder": (
        "IdentityEncoder",
        {"image_size": IMAGE_SIZE, "embedding_dim": 8, "widths": _WIDTHS, "units": _UNITS},
    ),
}


def build_tiny_world(directory: pathlib.Path) -> pathlib.Path:
    """Write `networks/ROLE.safetensors` for every role, and `faces/*.png`, below `directory`; return it."""
    for seed, (role, (name, arguments)) in enumerate(_NETWORKS.items()):
        notes = {"attributes": ",".join(ATTRIBUTES)} if name == "AttributeClassifier" else {}
        path = directory / "networks" / f"{role}.safetensors"
        networks.save_arrays(
            path, name, arguments, random_arrays(name, arguments, seed), notes=notes
        )
    write_pictures(directory / "faces", sum(NUM_FACES.values()))
    return directory


def random_arrays(name: str, arguments: dict, seed: int) -> dict[str, np.ndarray]:
    """Weights for a network, drawn by numpy: jax would compile an initialiser for each of its shapes."""
    random = np.random.default_rng(seed)

    def draw(key: str, shape: tuple[int, ...]) -> np.ndarray:
        kind = key.rpartition("/")[2]
        if kind in ("scale", "var"):
            return np.ones(shape, np.float32)
        if kind in ("mean", "noise_strength", "slope"):
            return np.full(shape, 0.1, np.float32)
        values = random.standard_normal(shape, np.float32)
        if kind == "kernel" and name != "Generator":  # the generator scales its weights itself
            values *= np.sqrt(2.0 / np.prod(shape[:-1]))
        return 0.1 * values if kind in ("bias", "latent_average", "w_average") else values

    shapes = networks.expected_shapes(name, arguments)
    return {key: draw(key, shape) for key, shape in shapes.items()}


def write_pictures(folder: pathlib.Path, count: int, *, size: int = IMAGE_SIZE) -> None:
    """Smooth random pictures, each different, as PNG files."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{i:05d}.png")


def tiny_config(directory: pathlib.Path | str) -> ml_collections.ConfigDict:
    """A training config on the world below `directory`: the pocket's, made tiny."""
    directory = pathlib.Path(directory)
    config = read_config(pathlib.Path(__file__).parent.parent / "configs" / "pocket.py")
    config.attributes = EDITED_ATTRIBUTES
    for role in _NETWORKS:
        config.networks[role] = str(directory / "networks" / f"{role}.safetensors")
    config.data.source = "folder"
    config.data.folder = str(directory / "faces")
    config.data.directory = str(directory / "data")
    first = 0
    for split, count in NUM_FACES.items():
        config.data.splits[split] = (first, first + count)
        first += count
    config.data.annotation_batch_size = 16
    config.data.update(GROUP_DEFAULTS["data"])
    config.flow.hidden_sizes = (8,)
    config.losses.image_resolution = 0
    config.semantic_encoder.update({"depth": 18, "width": 4, "stem_pool": False})
    config.initial_backbone = ""
    config.semantic_encoder.hidden_sizes = (8,)
    config.solver.update({"rtol": 1e-3, "atol": 1e-3})
    config.optimizer.update({"warmup_steps": 2, "decay_steps": 20})
    config.training.update(
        {
            "num_steps": 8,
            "batch_size": 8,
            "log_every": 2,
            "sample_every": 4,
            "num_sample_faces": 2,
            "checkpoint_every": 3,
        }
    )
    return config


def get_config(directory: str) -> ml_collections.ConfigDict:
    """What `--config=tests/tiny_world.py:DIRECTORY` reads."""
    return tiny_config(directory)
