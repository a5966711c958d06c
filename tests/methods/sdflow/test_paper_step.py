"""One step of training at the paper's sizes: W+ of 18 x 512, 1024 pixels, a ResNet-34 that reads 256."""

import jax
import numpy as np
import pytest

from benchmarks.paper_step import make_step
from sdflow_jax.losses import TERMS


@pytest.fixture
def quickly_compiled():
    """The step runs once: what compiles soonest is soonest done."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.full
def test_a_step_at_the_papers_sizes_is_taken(quickly_compiled):
    # Of 2 faces: several GB, and minutes on a processor.
    step = make_step(generator_dtype="float32", image_resolution=0, batch_size=2)
    measured = jax.device_get(step())
    assert not measured["is_skipped"] and measured["success"]
    assert all(np.isfinite(measured[name]) for name in (*TERMS, "loss", "gradient_norm"))
    assert measured["gradient_norm"] > 0
    # Encoder and flow have moved, so that the same faces are read otherwise.
    assert jax.device_get(step())["kd"] != measured["kd"]
