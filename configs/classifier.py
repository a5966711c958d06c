"""The attribute classifiers, learned from CelebA or from labels of your own.

    python train.py --config=configs/classifier.py --workdir=runs/classifier \
        --config.data.folder=img_align_celeba --config.data.labels=list_attr_celeba.txt \
        --config.data.partition=list_eval_partition.txt
    python train.py --config=configs/classifier.py:evaluation --workdir=runs/evaluation_classifier ...

The first trains the training classifier C, which SDFlow learns its variables from: a ResNet-34 with three
layers for each attribute. The second trains a ResNet-50 with one, for `evaluate.py` to judge by. The best
network by validation is left in the working directory, and the other configs take it:

    python train.py --config=configs/ffhq.py --workdir=runs/ffhq \
        --config.networks.classifier=runs/classifier/classifier.safetensors

Meant for a GPU. Neither how long it takes nor how good it gets has been measured on CelebA: 20,000 steps of
64 are eight times its 162,770 training images.
"""

import ml_collections

VARIANTS = {
    "": {"role": "classifier", "depth": 34, "head_sizes": (512, 512, 512), "seed": 0},
    "evaluation": {"role": "evaluation_classifier", "depth": 50, "head_sizes": (), "seed": 1},
}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The config of the training classifier, or with `evaluation` that of the evaluation classifier."""
    if variant not in VARIANTS:
        raise ValueError(f"the variant is evaluation or none, got {variant!r}")
    chosen = VARIANTS[variant]
    config = ml_collections.ConfigDict()
    config.role = chosen["role"]  # of config.networks: what the network is for
    config.seed = chosen["seed"]
    config.attributes = ()  # names; none for all that are labeled
    config.age_thresholds = ()  # years, for labels with a column of ages: builds the age network

    config.data = {
        "folder": "",  # of the images
        "labels": "",  # list_attr_celeba.txt, or a CSV file
        "partition": "",  # list_eval_partition.txt; without one a share of the images validates
        "validation_share": 0.1,
        "age_column": "",
        # (top, left, side) in pixels of the square that is cut out, () where the images are square. This
        # puts the eyes and mouth of img_align_celeba about where FFHQ's alignment would.
        "crop": (39, 12, 153),
        "image_size": 256,  # as the config reads faces that will use the network: 64 for configs/pocket.py
        "missing_images": "refuse",  # or "leave_out"
        "directory": "",  # of what was found out about the images; empty for workdir/data
        "num_threads": 8,
        "prefetch": 8,
    }
    config.network = {
        "depth": chosen["depth"],
        "width": 64,
        "stem_pool": True,
        "head_sizes": chosen["head_sizes"],
    }
    config.augmentation = {"mirror": True, "scale": 0.08, "shift": 0.04, "light": 0.2}
    # How much rare answers weigh: 0 as they come, 1 as if both answers were equally frequent.
    config.balance = 0.5
    config.validation = {"every": 1000, "choose_by": "area"}
    config.optimizer = {
        "learning_rate": 3e-4,
        "b1": 0.9,
        "b2": 0.999,
        "schedule": "cosine",
        "warmup_steps": 500,
        "decay_steps": 20_000,
        "gradient_clip": 1.0,
        "ema_decay": 0.0,
    }
    config.training = {
        "num_steps": 20_000,
        "batch_size": 64,
        "matmul_precision": "default",  # "float32" keeps a GPU from rounding factors
        "log_every": 50,
        "checkpoint_every": 1000,
        "keep_checkpoints": 2,
        "compilation_cache": "",  # where compiled programs are kept: "" the user's cache, "off" nowhere
    }
    return config
