"""A signal in the middle of a step, in this process; whole processes are tests/test_train.py's."""

import os
import signal

import numpy as np
import pytest

from reliability import small_training
from sdflow_jax.training.interrupts import Interrupts

NUM_STEPS = 9


@pytest.fixture(scope="module")
def begun():
    return small_training.begin()


def _train(workdir, begun, **others):
    batches = small_training.batches_of([0] * NUM_STEPS, range(NUM_STEPS))
    settings = {"num_steps": NUM_STEPS, "checkpoint_every": 100, "begun": begun}
    with Interrupts() as interrupts:
        return small_training.train(workdir, batches, interrupts=interrupts, **settings, **others)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_the_step_that_it_came_in(tmp_path, begun, number):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        whole = small_training.arrays(_train(tmp_path / "whole", begun))
        for step in (2, 4):  # 2 of the first run, and 4 more of the second

            def interrupt(at, step=step):
                if at == step:
                    os.kill(os.getpid(), number)

            _train(tmp_path / "parts", begun, on_step=interrupt)
        saved = {path.name for path in (tmp_path / "parts" / "checkpoints").iterdir()}
        assert saved == {"2", "6"}
        parts = small_training.arrays(_train(tmp_path / "parts", begun))
        for key, value in whole.items():
            np.testing.assert_array_equal(parts[key], value)
    finally:
        signal.signal(signal.SIGINT, before)
