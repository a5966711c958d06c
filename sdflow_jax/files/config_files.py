"""Config files, named as for `--config`."""

import importlib.util
import os
import pathlib

import ml_collections


def read_config(path: str | os.PathLike[str]) -> ml_collections.ConfigDict:
    """The config of a file, by path: configs are given on the command line and are no package.

    Args:
      path: `FILE`, whose `get_config()` is called, or `FILE:ARGUMENT` for `get_config(ARGUMENT)`.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is no Python or defines no `get_config`.
    """
    name, *arguments = str(path).split(":", 1)
    file = pathlib.Path(name)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such config file")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None:
        raise ValueError(f"{file}: a config file must be Python, with a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ValueError(f"{file}: a config file must define get_config, and this one does not")
    return module.get_config(*arguments)
