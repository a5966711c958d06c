"""Settings for every test: CPU, no silent broadcasting between arrays of different rank, and none of
different types of numbers.
"""

import functools
import os
import pathlib
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import optax
from flax.nnx.nn import normalization

from sdflow_jax.files.collection import collect_seldom
from sdflow_jax.files.compiled_programs import keep_compiled_programs

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

# What one test or a command that it starts has compiled, the others load; it is forgotten in the end.
_compiled = tempfile.TemporaryDirectory(prefix="sdflow-compiled-", ignore_cleanup_errors=True)
os.environ["SDFLOW_COMPILATION_CACHE"] = _compiled.name
keep_compiled_programs()

collect_seldom()

# Files of few tests that take minutes: begun last, one worker would run them while the other has
# nothing left to do.
_LONGEST = ("test_train.py", "test_training.py", "test_recorded_losses.py", "test_evaluate.py")


def pytest_configure(config):
    """Compile quickly rather than well, unless all cases are asked for: programs run once or twice."""
    if config.option.markexpr == "not full":
        jax.config.update("jax_disable_most_optimizations", True)
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"


def pytest_collection_modifyitems(items):
    """Order the longest files first, and leave everything else as it is."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(pathlib.Path(item.path).name, len(places)))
