"""The Latent Transformer (Yao et al. 2021) in the pocket world.

python train.py --config=configs/baselines/latent_transformer.py --workdir=runs/latent_transformer

Two stages, after the pocket faces are made (1:50 minutes on two idle CPU cores): 2,000 steps of a
classifier of latents and 10,000 of the transformers, neither of which looks at a picture: under four
minutes of one core, the other one busy.
"""

import pathlib

import ml_collections

from sdflow_jax.files.config_files import read_config


def get_config() -> ml_collections.ConfigDict:
    """The pocket config's faces and networks, and the settings of the transformers."""
    config = read_config(pathlib.Path(__file__).parent.with_name("pocket.py"))
    for key in ("flow", "semantic_encoder", "semantic_variables", "initial_backbone"):
        del config[key]
    for group in ("solver", "losses"):
        del config[group]
    del config.optimizer["backbone_rate"], config.optimizer["ema_decay"]
    del config.training["generator_dtype"]
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
