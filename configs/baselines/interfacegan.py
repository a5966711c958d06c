"""InterFaceGAN (Shen et al. 2020) in the pocket world: linear boundaries in W, which move all styles.

python train.py --config=configs/baselines/interfacegan.py --workdir=runs/interfacegan

Nothing is trained by steps: it fits one linear classifier for each attribute, after the pocket faces
are made (1:50 minutes on two idle CPU cores): seven seconds of one core in all. Expect
`WORKDIR/interfacegan/boundaries.json`, with how well each boundary tells held-out faces apart.
"""

import pathlib

import ml_collections

from sdflow_jax.files.config_files import read_config


def get_config() -> ml_collections.ConfigDict:
    """The pocket config's faces and networks, and the settings of the boundaries."""
    config = read_config(pathlib.Path(__file__).parent.with_name("pocket.py"))
    for key in ("flow", "semantic_encoder", "semantic_variables", "initial_backbone"):
        del config[key]
    for group in ("solver", "losses", "optimizer"):
        del config[group]
    for key in list(config.training):
        if key not in ("matmul_precision", "compilation_cache"):
            del config.training[key]
    config.method = "interfacegan"
    config.interfacegan = {
        # Share of the training faces, at either end of the classifier's scores, that take part.
        "extremes": 0.2,
        "train_share": 0.9,  # of those; the rest measures the boundary
        "penalty": 1.0,
        "conditional": True,  # leave the other attributes' boundaries at the same distance
    }
    return config
