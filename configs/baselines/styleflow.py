"""StyleFlow (Abdal et al. 2021) in the pocket world: the same flow, trained by likelihood alone on
the frozen classifier's predictions. It is the ablation's first variant.

python train.py --config=configs/baselines/styleflow.py --workdir=runs/styleflow

It has the pocket config's schedule and computes less than SDFlow, whose times stand there: about two
minutes of training on one core. Expect a falling `nll` and no other loss in `metrics.csv`.
"""

import pathlib

import ml_collections

from sdflow_jax.files.config_files import read_config


def get_config() -> ml_collections.ConfigDict:
    """The ablation's config of the likelihood alone."""
    ablation = pathlib.Path(__file__).parent.with_name("ablation.py")
    return read_config(f"{ablation}:nll")
