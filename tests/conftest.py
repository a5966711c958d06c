"""Settings for every test: CPU, no silent broadcasting between arrays of different rank, and none of
different types of numbers.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
