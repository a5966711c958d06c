"""Larger generators for the codes of a packaged world's own, where they are installed."""

import pathlib

from flax import nnx

from sdflow_jax.files.late_import import imported

# A world -> the module that knows of its renderer.
_RENDERERS = {"pocket": "sdflow_jax.pocket.renderer"}


def find_larger(path: str, generator: nnx.Module) -> nnx.Module | None:
    """A larger generator for the same codes, if the generator's packaged world has one here; None, with a
    warning, where it is not installed.

    Args:
      path: of the generator's file, as in a config.
      generator: what it holds.
    """
    module = _module_of(path)
    return imported(f"{module}:load_renderer")(generator) if module else None


def find_larger_file(path: str, *, shown_at: int | None = None) -> pathlib.Path | None:
    """The network file of the same, without loading it.

    Args:
      path: of the generator's file, as in a config.
      shown_at: the generator's own resolution, to warn that it is the largest; None for no warning.
    """
    module = _module_of(path)
    return imported(f"{module}:renderer_file")(shown_at) if module else None


def _module_of(path: str) -> str | None:
    world, separator, _ = path.partition(":")
    return _RENDERERS.get(world) if separator else None
