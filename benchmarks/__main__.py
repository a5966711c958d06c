"""Print a table of ratios: `python -m benchmarks [--large]`."""

import argparse
import platform
import sys

import jax

from benchmarks import flow, generator, training
from benchmarks.timing import HEADER


def main() -> None:
    """Run every comparison and print it as a row."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="example: python -m benchmarks > table.md  (what is being timed is told on stderr)",
    )
    parser.add_argument("--large", action="store_true", help="the paper's sizes, not the pocket's")
    is_large = parser.parse_args().large
    device = jax.devices()[0]
    print(
        f"{platform.machine()}, {len(jax.devices())} x {device.device_kind}, jax {jax.__version__}\n"
    )
    print(HEADER)
    modules = (flow, generator, training)
    for number, module in enumerate(modules, 1):
        about = f"{number}/{len(modules)} {module.__name__.rpartition('.')[2]}"
        print(f"{about}: compiling and timing", file=sys.stderr, flush=True)
        for comparison in module.comparisons(is_large=is_large):
            print(comparison.row(), flush=True)


if __name__ == "__main__":
    main()
