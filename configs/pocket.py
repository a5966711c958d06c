"""SDFlow in the pocket world: faces of StyleGAN2-FFHQ's own W space, everything in the package.

    python train.py --config=configs/pocket.py --workdir=runs/pocket

The faces are samples of a small generator that imitates StyleGAN2-FFHQ, drawn by seed, without those that
look like children to an annotator or a network; they are read at 64 pixels.

Time, by `make pocket` on two CPU cores: 14:17 minutes, of which 0:50 to install, 1:45 to make the faces,
seven to train (0.77 s a step, after half a minute to compile the first) and four for `evaluate.py`. What to expect
of 300 test faces within a strength of 1.5: 99.3% of the edits of Eyeglasses succeed, as many of Male and of
Young, 96.1% of all three at once; the first picture in `samples/` comes after 200 steps.
Why these settings: the log in `sdflow_jax/pocket/MODEL_CARD.md`.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """The config; any value can be set on the command line: `--config.training.num_steps=500`."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.method = "sdflow"  # what is trained: also interfacegan and latent_transformer
    config.attributes = ("Eyeglasses", "Male", "Young")

    config.networks = {
        "generator": "pocket:generator",
        "inversion_encoder": "pocket:inversion_encoder",
        "classifier": "pocket:classifier",
        # Judges: only the evaluation reads them.
        "evaluation_classifier": "pocket:evaluation_classifier",
        "identity_encoder": "pocket:identity_encoder",
    }
    config.data = {
        "source": "generator",
        "limits": {"train": 6000, "validation": 300, "test": 300},
        "folder": "",
        "splits": {"train": (0, 40_000), "validation": (56_000, 56_400), "test": (60_000, 60_800)},
        "directory": "",  # of the built data set; empty for workdir/data
        "annotation_batch_size": 32,
        "num_threads": 2,
        "prefetch": 4,
        "image_size": 64,
        "truncation": 0.9,
        "mixed_share": 0.0,
        "seed_list": "pocket:adult_seeds",
    }

    config.flow = {"hidden_sizes": (512,) * 5, "num_blocks": 1}
    config.semantic_encoder = {
        "depth": 34,
        "width": 16,
        "stem_pool": True,
        "hidden_sizes": (128, 128),
    }
    # "classifier" conditions the flow on the frozen classifier's predictions, with no encoder trained.
    config.semantic_variables = "encoder"
    # Attribute classifier whose residual network the semantic encoder's starts from; "" for random weights.
    config.initial_backbone = "pocket:classifier"
    config.solver = {
        # As exact on the trained flow as dopri5 at 1e-4, with a half to two thirds of the evaluations:
        # docs/performance.md.
        "method": "tsit5",
        "rtol": 1e-3,
        "atol": 1e-3,
        "first_step": 0.5,
        "max_steps": 32,
        "adjoint": "recursive_checkpoint",
    }

    config.losses = {
        "nll": 1.0,
        "kd": 1.0,
        "mi": 1.0,
        "reg": 0.3,
        "flow_matching": 0.0,  # beyond the paper: in place of nll, it solves no equation
        "resample": "one",
        "noise": "rademacher",
        "image_resolution": 64,
    }
    config.optimizer = {
        "learning_rate": 1e-3,
        "backbone_rate": 0.1,  # share of it for the semantic encoder's residual network
        "b1": 0.9,
        "b2": 0.99,
        "schedule": "cosine",
        "warmup_steps": 50,
        "decay_steps": 500,
        "gradient_clip": 1.0,
        "ema_decay": 0.0,
    }
    config.training = {
        "num_steps": 500,
        "batch_size": 16,
        "generator_dtype": "float32",
        "matmul_precision": "float32",  # "default" lets a GPU round the factors of float32 products
        "log_every": 10,
        "sample_every": 200,
        "num_sample_faces": 8,
        "checkpoint_every": 100,
        "keep_checkpoints": 2,
        "compilation_cache": "",  # where compiled programs are kept: "" the user's cache, "off" nowhere
    }
    return config
