"""What a training run leaves, with small random networks: a config and the exported networks."""

import pathlib

import numpy as np

from reliability.tiny_world import tiny_config
from sdflow_jax.files import networks
from sdflow_jax.files import run_config as config_file
from tests.filled_networks import filled_arrays

ATTRIBUTES = ("Young", "Eyeglasses")
STYLES, DIM, SIZE = 8, 6, 32
SOLVER = {"rtol": 1e-5, "atol": 1e-5, "first_step": 0.1}
WIDTHS, UNITS = (4, 4, 8, 8, 8), (1, 1, 1, 1)
NETWORKS = {
    "generator": (
        "Generator",
        {
            "resolution": SIZE,
            "style_dim": DIM,
            "channels": {"4": 8, "8": 8, "16": 8, "32": 4},
            "num_mapping_layers": 1,
        },
    ),
    "inversion_encoder": (
        "InversionEncoder",
        {
            "image_size": SIZE,
            "num_styles": STYLES,
            "style_dim": DIM,
            "widths": WIDTHS,
            "units": UNITS,
            "head_width": 4,
        },
    ),
    "flow": (
        "ConditionalFlow",
        {"dim": DIM, "num_conditions": 2, "hidden_sizes": [8], "solver": SOLVER},
    ),
    "semantic_encoder": (
        "SemanticEncoder",
        {"num_attributes": 2, "depth": 18, "width": 4, "stem_pool": False, "hidden_sizes": []},
    ),
}


def write_run(directory: pathlib.Path) -> pathlib.Path:
    """Write the run; returns its directory."""
    config = tiny_config(directory)
    notes = {"attributes": ",".join(ATTRIBUTES), "image_size": str(SIZE)}
    for name, (kind, arguments) in NETWORKS.items():
        folder = "networks" if name in config.networks else "sdflow"
        path = directory / folder / f"{name}.safetensors"
        arrays = filled_arrays(kind, arguments)
        for key in arrays:
            if key.endswith(("/variance", "/sqrt_end_time")):
                arrays[key] = np.ones_like(arrays[key])
        networks.save_arrays(path, kind, arguments, arrays, notes=notes)
    # The run's digests cover the classifier, which an editor does not load.
    (directory / "networks" / "classifier.safetensors").write_bytes(b"unread")
    config_file.save_config(directory, config)
    return directory
