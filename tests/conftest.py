"""Settings for every test: CPU, no silent broadcasting between arrays of different rank, and none of
different types of numbers.
"""

import functools
import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What is compiled here is forgotten, here and in the commands that tests start.
os.environ.setdefault("SDFLOW_COMPILATION_CACHE", "off")

import jax
import optax
from flax.nnx.nn import normalization

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def _as_by_default(function):
    """`function`, a library's that mixes types of numbers on purpose, under jax's usual promotion."""

    @functools.wraps(function)
    def call(*arguments, **options):
        with jax.numpy_dtype_promotion("standard"):
            return function(*arguments, **options)

    return call


# Adam raises to the power of a whole number; a batch norm's statistics are in float32 or wider.
optax.tree.bias_correction = _as_by_default(optax.tree.bias_correction)
normalization._compute_stats = _as_by_default(normalization._compute_stats)

# Files of few tests that take minutes: begun last, one worker would run them while the other has
# nothing left to do.
_LONGEST = ("test_train.py", "test_training.py", "test_recorded_losses.py", "test_evaluate.py")


def pytest_collection_modifyitems(items):
    """Order the longest files first, and leave everything else as it is."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(pathlib.Path(item.path).name, len(places)))
