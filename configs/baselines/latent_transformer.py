"""The Latent Transformer (Yao et al. 2021) in the pocket world.

python train.py --config=configs/baselines/latent_transformer.py --workdir=runs/latent_transformer
"""

import importlib.util
import pathlib

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """The pocket config's faces and networks, and the settings of the transformers."""
    config = _pocket_config()
    for group in ("flow", "semantic_encoder", "initial_backbone", "solver", "losses"):
        del config[group]
    config.method = "latent_transformer"
    config.latent_classifier = {"hidden_sizes": (256, 128), "num_steps": 2000}
    # The authors' weights.
    config.latent_transformer = {"classification": 1.0, "attribute": 1.0, "reconstruction": 10.0}
    # Of the latent classifier and of the transformers. No limit of the gradient's norm: it would
    # tie the transformers of different attributes to each other.
    config.optimizer.update(
        {"learning_rate": 1e-3, "schedule": "constant", "gradient_clip": 0.0, "b2": 0.999}
    )
    config.training.update(
        {
            "num_steps": 10000,
            "batch_size": 32,
            "log_every": 100,
            "sample_every": 5000,
            "checkpoint_every": 1000,
        }
    )
    return config


def _pocket_config() -> ml_collections.ConfigDict:
    # By path: configs are files given on the command line, not a package.
    file = pathlib.Path(__file__).parent.parent / "pocket.py"
    spec = importlib.util.spec_from_file_location("pocket_config", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()
