"""The paper's ablation (section 3.3) in the pocket world: one loss more in each variant.

python train.py --config=configs/ablation.py:mi --workdir=runs/ablation-mi

nll   the flow by likelihood alone, conditioned on the frozen classifier's predictions
reg   with the reconstruction loss
mi    with the mutual information loss, the frozen classifier reading the edited faces
kd    with knowledge distillation: the semantic encoder learns too, which is all of SDFlow

The variants are trained on the pocket config's schedule, and each computes no more than SDFlow, whose
times stand there: mi took six and a half minutes on two cores, beside other work. Compare them by
`evaluate.py`, and by `make figures` over three seeds.
"""

import pathlib

import ml_collections

from sdflow_jax.files.config_files import read_config

VARIANTS = {
    "nll": ("nll",),
    "reg": ("nll", "reg"),
    "mi": ("nll", "reg", "mi"),
    "kd": ("nll", "reg", "mi", "kd"),
}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The pocket config with the losses of one variant, at the weights that all of them share."""
    if variant not in VARIANTS:
        raise ValueError(
            f"the variants are {', '.join(VARIANTS)}, got {variant!r}; name one, as in ablation.py:kd"
        )
    config = read_config(pathlib.Path(__file__).with_name("pocket.py"))
    for term in VARIANTS["kd"]:
        if term not in VARIANTS[variant]:
            config.losses[term] = 0.0
    if variant != "kd":
        config.semantic_variables = "classifier"
        config.initial_backbone = ""  # there is no encoder whose weights could begin anywhere
    return config
