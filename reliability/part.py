"""One part in a process of its own: `python -m reliability.part NAME DIRECTORY SEED SCALE`.

Prints nothing; `DIRECTORY/NAME.json` appears when the part is done.
"""

import dataclasses
import importlib
import pathlib
import shutil
import sys
import time

from reliability.parts import PARTS, Context
from sdflow_jax.files.atomic import write_json


def main(name: str, directory: str, seed: str, scale: str) -> None:
    """Run the part and keep its rows."""
    start = time.monotonic()
    results = pathlib.Path(directory)
    scratch = results / f"{name}.scratch"
    shutil.rmtree(scratch, ignore_errors=True)  # of a matrix that was stopped
    scratch.mkdir(parents=True)
    context = Context(name, scratch, int(seed), float(scale))
    rows = importlib.import_module(PARTS[name]).run(context)
    write_json(
        results / f"{name}.json",
        {
            "seed": context.seed,
            "scale": context.scale,
            "seconds": round(time.monotonic() - start, 1),
            "rows": [dataclasses.asdict(row) for row in rows],
        },
    )
    if not any(row.failures for row in rows):  # else there is something to look at
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
