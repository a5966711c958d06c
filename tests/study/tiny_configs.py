"""Configs of a study on the tiny world: --config=tests/study/tiny_configs.py:METHOD@DIRECTORY."""

import pathlib

import ml_collections

from sdflow_jax.files.config_files import read_config

ROOT = pathlib.Path(__file__).parent.parent.parent


def get_config(argument: str) -> ml_collections.ConfigDict:
    method, _, directory = argument.partition("@")
    tiny = read_config(f"{ROOT / 'reliability' / 'tiny_world.py'}:{directory}")
    if method == "styleflow":
        tiny.semantic_variables = "classifier"
        for term in ("kd", "mi", "reg"):
            tiny.losses[term] = 0.0
        return tiny
    config = read_config(ROOT / "configs" / "baselines" / f"{method}.py")
    for group in ("attributes", "networks", "data"):
        config[group] = tiny[group]
    config.training.update(tiny.training)
    return config
