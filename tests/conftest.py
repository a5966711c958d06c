"""Settings for every test: CPU, and no silent broadcasting between arrays of different rank."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
