"""StyleFlow (Abdal et al. 2021) in the pocket world: the same flow, trained by likelihood alone on
the frozen classifier's predictions. It is the ablation's first variant.

python train.py --config=configs/baselines/styleflow.py --workdir=runs/styleflow
"""

import importlib.util
import pathlib

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """The ablation's config of the likelihood alone."""
    file = pathlib.Path(__file__).parent.parent / "ablation.py"
    spec = importlib.util.spec_from_file_location("ablation_config", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config("nll")
