"""Inject faults and print a table of what survived: `python -m reliability [--only NAME] [--scale 0.1]`.

Parts that are done are kept in the results directory with seed and scale; the same command continues.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from reliability.parts import HEADER, PARTS, Row
from sdflow_jax.files.lock import InUseError, locked

ROOT = pathlib.Path(__file__).parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done yet; the exit status is 1 if anything did not survive."""
    arguments = _parser().parse_args(argv)
    names = arguments.only or list(PARTS)
    directory = arguments.directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    # So that the parts end too, and with them what they have forked.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        # A second matrix would delete what the parts of the first work on.
        with locked(directory, "injecting faults"):
            missing = [name for name in names if _done(directory, name, arguments) is None]
            broken = _run(missing, directory, arguments)
    except InUseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"seed {arguments.seed}, scale {arguments.scale:g}\n\n{HEADER}")
    failures = [f"{name} ended with an error: see {directory / name}.log" for name in broken]
    for name in names:
        for row in _done(directory, name, arguments) or ():
            print(row.line())
            failures += [f"{row.fault}: {failure}" for failure in row.failures]
    print("".join(f"\n{failure}" for failure in failures))
    return 1 if failures else 0


def _run(names: Sequence[str], directory: pathlib.Path, arguments: argparse.Namespace) -> list[str]:
    """Run parts, some at a time; returns those that ended with an error."""
    waiting, running, broken = list(names), {}, []
    try:
        while waiting or running:
            while waiting and len(running) < arguments.jobs:
                name = waiting.pop(0)
                running[name] = _start(name, directory, arguments)
                started = len(names) - len(waiting)
                print(f"{started}/{len(names)} {name}: begun", file=sys.stderr, flush=True)
            for name, process in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    broken += [name] * (process.returncode != 0)
                    left = len(waiting) + len(running)
                    print(f"{name}: ended, {left} left", file=sys.stderr, flush=True)
            time.sleep(0.2)
    finally:
        for process in running.values():
            process.terminate()
    return broken


def _start(name: str, directory: pathlib.Path, arguments: argparse.Namespace) -> subprocess.Popen:
    environment = {
        "JAX_PLATFORMS": "cpu",
        # The killed processes compile the same few programs: once is enough, and quickly.
        "JAX_COMPILATION_CACHE_DIR": str(directory / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        **os.environ,
        # One core each: more threads than cores would only wait for each other.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
    }
    command = [sys.executable, "-m", "reliability.part", name, str(directory)]
    command += [str(arguments.seed), str(arguments.scale)]
    with (directory / f"{name}.log").open("w") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def _done(directory: pathlib.Path, name: str, arguments: argparse.Namespace) -> list[Row] | None:
    """The rows of a part that was run with this seed and scale."""
    file = directory / f"{name}.json"
    if not file.exists():
        return None
    kept = json.loads(file.read_text())
    if (kept["seed"], kept["scale"]) != (arguments.seed, arguments.scale):
        return None
    return [Row(**row) for row in kept["rows"]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reliability",
        description=__doc__,
        epilog="example: python -m reliability --only kill-training --scale 0.1",
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be repeated")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the faults, in (0, 1]")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="parts at a time")
    parser.add_argument(
        "--directory",
        type=pathlib.Path,
        default=ROOT / "runs" / "reliability",
        help="of the results",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
