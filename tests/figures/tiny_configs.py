"""Configs of a study on the tiny world: --config=tests/figures/tiny_configs.py:METHOD@DIRECTORY."""

import importlib.util
import pathlib

import ml_collections

ROOT = pathlib.Path(__file__).parent.parent.parent


def get_config(argument: str) -> ml_collections.ConfigDict:
    method, _, directory = argument.partition("@")
    tiny = _module(ROOT / "tests" / "tiny_world.py").tiny_config(directory)
    if method == "styleflow":
        tiny.semantic_variables = "classifier"
        for term in ("kd", "mi", "reg"):
            tiny.losses[term] = 0.0
        return tiny
    config = _module(ROOT / "configs" / "baselines" / f"{method}.py").get_config()
    for group in ("attributes", "networks", "data"):
        config[group] = tiny[group]
    config.training.update(tiny.training)
    return config


def _module(file: pathlib.Path):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
