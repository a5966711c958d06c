"""Print a table of ratios: `python -m benchmarks [--large] [--json=FILE]`."""

import argparse
import datetime
import json
import pathlib
import platform
import sys

import jax

from benchmarks import evaluation, flow, generator, parts, training
from benchmarks.timing import HEADER, peak
from sdflow_jax.files.cores import own_cores


def main() -> None:
    """Run every comparison and print it as a row."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="example: python -m benchmarks > table.md  (what is being timed is told on stderr)",
    )
    parser.add_argument("--large", action="store_true", help="the paper's sizes, not the pocket's")
    parser.add_argument(
        "--json", type=pathlib.Path, help="a file for the same numbers, to compare later runs with"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "tensorfloat32", "bfloat16"),
        default="float32",
        help="to which an accelerator may round the factors of products (float32: not at all)",
    )
    given = parser.parse_args()
    jax.config.update("jax_default_matmul_precision", given.precision)
    device = jax.devices()[0]
    machine = {
        "date": datetime.date.today().isoformat(),
        "processor": platform.machine(),
        "cores": len(own_cores()),
        "devices": f"{len(jax.devices())} x {device.device_kind}",
        "jax": jax.__version__,
        "products": given.precision,
        "peak_gflops": round(peak() / 1e9),
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()) + "\n")
    print(HEADER)
    rows = []
    modules = (flow, generator, training, evaluation)
    for number, module in enumerate(modules, 1):
        about = f"{number}/{len(modules)} {module.__name__.rpartition('.')[2]}"
        print(f"{about}: compiling and timing", file=sys.stderr, flush=True)
        for comparison in module.comparisons(is_large=given.large):
            print(comparison.row(), flush=True)
            rows.append(comparison.to_dict())
    shares = [] if given.large else parts.measure(parts.pocket_run())
    if shares:
        print("\n" + parts.table(shares))
    if given.json:
        kept = {"machine": machine, "comparisons": rows, "parts_of_a_step_s": dict(shares)}
        given.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
