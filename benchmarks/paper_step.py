"""The paper's training step, timed: 1024 pixels, W+ of 18 x 512, ResNet-34 at 256, as `configs/ffhq.py` has it.

    python -m benchmarks.paper_step
    python -m benchmarks.paper_step --generator-dtype=float32 --image-resolution=256 --num-steps=20

The networks have random weights and the faces are noise: a step takes as long. What is printed is one row of the
table in README.md. On a machine without an accelerator ask for few steps and a small batch.
"""

import argparse
import dataclasses
import functools
import json
import resource
import sys
import time
from collections.abc import Callable

import jax
import numpy as np

from benchmarks.config import with_overrides
from sdflow_jax.files import networks
from sdflow_jax.files.roles import TRAINING_ROLES
from sdflow_jax.methods.sdflow.networks import (
    build_networks,
    build_sdflow_optimizer,
    network_arguments,
)
from sdflow_jax.methods.sdflow.step import make_sdflow_step
from sdflow_jax.methods.settings import read_settings
from sdflow_jax.training.state import create_state

_GENERATOR = {"resolution": 1024}
_READ_AT = 256  # pixels, of the faces that the semantic encoder reads
HEADER = (
    "| generator in | products in | seen at | batch | compile s | s a step | images/s | GB |\n"
    "|---|---|---|---|---|---|---|---|"
)


@dataclasses.dataclass(frozen=True)
class PaperStep:
    """What was measured.

    Attributes:
      generator_dtype: of the generator's feature maps.
      matmul_precision: "default" lets an accelerator round the factors of float32 products.
      image_resolution: pixels that the generator makes for the mutual information loss.
      batch_size: faces a step.
      num_steps: that were timed.
      compile_s: seconds to trace and compile the step.
      step_s: median seconds of a step.
      peak_bytes: most memory in use, of the accelerator, or of the process where there is none.
      device: on which.
      jax: its version.
    """

    generator_dtype: str
    matmul_precision: str
    image_resolution: int
    batch_size: int
    num_steps: int
    compile_s: float
    step_s: float
    peak_bytes: int
    device: str
    jax: str = jax.__version__

    def row(self) -> str:
        """As a row under `HEADER`."""
        return (
            f"| {self.generator_dtype} | {self.matmul_precision} | {self.image_resolution} |"
            f" {self.batch_size} | {self.compile_s:.0f} | {self.step_s:.3f} |"
            f" {self.batch_size / self.step_s:.1f} | {self.peak_bytes / 1e9:.1f} |"
        )


def make_step(
    *, generator_dtype: str, image_resolution: int, batch_size: int
) -> Callable[[], dict[str, jax.Array]]:
    """A function that takes one training step at every call and returns its measurements.

    Args:
      generator_dtype: "float32" or "bfloat16".
      image_resolution: pixels that the generator makes; 0 for all.
      batch_size: faces a step.
    """
    run = read_settings(
        with_overrides(
            "ffhq.py",
            {
                # Only to be accepted: no folder is read, and no network but the generator built.
                "data.folder": ".",
                **{f"networks.{role}": f"pocket:{role}" for role in TRAINING_ROLES},
                "training.generator_dtype": generator_dtype,
                "training.batch_size": batch_size,
            },
        )
    )
    generator = networks.build("Generator", _GENERATOR)
    arguments = network_arguments(
        run.own, num_attributes=len(run.attributes), style_dim=generator.style_dim
    )
    graphs, state = create_state(
        functools.partial(build_networks, arguments, run.seed, None),
        build_sdflow_optimizer(run.own.training.optimizer, backbone_rate=run.own.backbone_rate),
        seed=run.seed,
        keeps_average=False,
    )
    # After the config has been read, which would check it against the pocket world's generator.
    settings = dataclasses.replace(run.own.losses, image_resolution=image_resolution)
    train_step = make_sdflow_step(graphs, generator, weights=run.own.weights, settings=settings)
    random = np.random.default_rng(0)
    shape = (batch_size, _READ_AT, _READ_AT, 3)
    codes = (batch_size, generator.num_styles, generator.style_dim)
    batch = jax.device_put(
        {
            "image": random.integers(0, 256, shape, dtype=np.uint8),
            "w_plus": random.standard_normal(codes, dtype=np.float32),
            "predictions": random.random((batch_size, len(run.attributes)), dtype=np.float32),
        }
    )
    holder = {"state": state}

    def step() -> dict[str, jax.Array]:
        holder["state"], measured = train_step(holder["state"], batch)
        return measured

    return step


def measure(step: Callable[[], dict[str, jax.Array]], num_steps: int) -> tuple[float, int]:
    """Median seconds of a step that is compiled, and the most bytes that were in use so far.

    Raises:
      FloatingPointError: if a step was skipped, which then took less than it should.
    """
    seconds, skipped = [], []
    for _ in range(num_steps):
        start = time.perf_counter()
        measured = jax.block_until_ready(step())
        seconds.append(time.perf_counter() - start)
        skipped.append(measured["is_skipped"])
    if any(map(bool, skipped)):
        raise FloatingPointError("a step was skipped: its numbers were not finite")
    statistics = jax.devices()[0].memory_stats() or {}
    of_process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # KiB on Linux
    return float(np.median(seconds)), statistics.get("peak_bytes_in_use", of_process)


def main() -> None:
    """Measure one step and print its row; `--json` adds a line of JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper_step",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--generator-dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--matmul-precision", choices=("default", "float32"), default="float32")
    parser.add_argument("--image-resolution", type=int, default=1024, help="pixels (1024)")
    parser.add_argument("--batch-size", type=int, default=16, help="faces a step (16)")
    parser.add_argument("--num-steps", type=int, default=100, help="that are timed (100)")
    parser.add_argument("--json", action="store_true", help="a line of JSON after the row")
    chosen = parser.parse_args()
    with jax.default_matmul_precision(chosen.matmul_precision):
        start = time.perf_counter()
        step = make_step(
            generator_dtype=chosen.generator_dtype,
            image_resolution=chosen.image_resolution % _GENERATOR["resolution"],
            batch_size=chosen.batch_size,
        )
        print("compiling", file=sys.stderr, flush=True)
        jax.block_until_ready(step())
        compile_s = time.perf_counter() - start
        step_s, peak_bytes = measure(step, chosen.num_steps)
    found = PaperStep(
        chosen.generator_dtype,
        chosen.matmul_precision,
        chosen.image_resolution,
        chosen.batch_size,
        chosen.num_steps,
        compile_s,
        step_s,
        peak_bytes,
        jax.devices()[0].device_kind,
    )
    print(HEADER)
    print(found.row())
    if chosen.json:
        print(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main()
