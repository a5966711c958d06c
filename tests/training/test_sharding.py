import json
import os
import subprocess
import sys

import pytest

from sdflow_jax.files.run_config import ConfigError
from sdflow_jax.training.sharding import DataParallel

_PROGRAM = """
import json
import re
import jax
from sdflow_jax.training.sharding import DataParallel
from tests.methods.sdflow import toy

def losses(count):
    devices = DataParallel(8, jax.devices()[:count])
    _, state, step, _ = toy.toy_run(learning_rate=0.1, sharding=devices.replicated)
    state = devices.replicate(state)
    found = []
    for _ in range(3):
        batch = devices.put_batch(toy.toy_batch(8))
        assert len(batch["w_plus"].addressable_shards) == count
        assert batch["w_plus"].addressable_shards[0].data.shape[0] == 8 // count
        state, measured = step(state, batch)
        found.append({name: float(value) for name, value in measured.items()})
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state["trained"]))
    if count > 1:
        program = jax.jit(step).lower(state, batch).compile().as_text()
        sends = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")
        found.append({name: len(re.findall(rf" {name}(?:-start)?\\(", program)) for name in sends})
    return found

assert jax.device_count() == 8
print(json.dumps([losses(1), losses(8)]))
"""


def test_eight_devices_take_the_same_steps_as_one():
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # it compiles longer than it runs
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    alone, (*together, sent) = json.loads(done.stdout.splitlines()[-1])
    for one, eight in zip(alone, together, strict=True):
        # Batch norms and losses over the whole batch: equal up to the order of summation.
        assert one == pytest.approx(eight, rel=1e-4, abs=1e-6)
    assert alone[0]["loss"] != alone[2]["loss"]
    # Sums over the devices are all that is sent: no weights are gathered, no faces change places.
    assert sent.pop("all-reduce") > 0
    assert not any(sent.values()), sent


def test_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ConfigError, match="batch_size must be a multiple of the 3 devices, got 8"):
        DataParallel(8, devices=[None] * 3)
