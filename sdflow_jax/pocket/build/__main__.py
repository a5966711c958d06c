"""Build the pocket world: `python -m sdflow_jax.pocket.build --cache DIR [--stages renders,student,...]`.

Needs the packages of `make pocket-build-environment`. Every stage goes on where it was killed. The
renders and the student want an accelerator: one H100 took a minute and a half, and four minutes; two
CPU cores, by estimate and not tried, nine hours, and days.
"""

import argparse
import pathlib

from sdflow_jax.files.compiled_programs import keep_compiled_programs
from sdflow_jax.files.lock import locked
from sdflow_jax.images.precision import in_float32
from sdflow_jax.pocket.build import stages

WEIGHTS = pathlib.Path(__file__).parents[1] / "weights"
STAGES = {
    "renders": stages.build_renders,
    "adults": stages.build_adults,
    "student": stages.build_student,
    "inversion_encoder": stages.build_inversion_encoder,
    "classifiers": stages.build_classifiers,
    "identity_encoder": stages.build_identity_encoder,
    "sdflow": stages.build_sdflow,
}


@in_float32
def main() -> None:
    """Run the asked stages in their order."""
    parser = argparse.ArgumentParser(
        prog="python -m sdflow_jax.pocket.build",
        description=__doc__,
        epilog="example: python -m sdflow_jax.pocket.build --cache runs/pocket-build --stages sdflow",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--cache", type=pathlib.Path, required=True, help="working folder, about 6 GB"
    )
    parser.add_argument(
        "--weights", type=pathlib.Path, default=WEIGHTS, help="where the networks go"
    )
    parser.add_argument(
        "--stages",
        default=",".join(STAGES),
        help=f"some of {', '.join(STAGES)}, separated by commas; all by default",
    )
    parser.add_argument(
        "--render-batch", type=int, default=4, help="codes rendered at once, a divisor of 500"
    )
    arguments = parser.parse_args()
    keep_compiled_programs()
    asked = arguments.stages.split(",")
    unknown = set(asked) - set(STAGES)
    if unknown:
        parser.error(f"unknown stage {', '.join(sorted(unknown))}; stages are {', '.join(STAGES)}")
    try:
        with locked(arguments.cache, "building the pocket world"):
            build = stages.Build(arguments.cache, arguments.weights, arguments.render_batch)
            chosen = [name for name in STAGES if name in asked]
            for number, name in enumerate(chosen, 1):
                print(f"stage {number}/{len(chosen)}: {name}", flush=True)
                STAGES[name](build)
    except OSError as error:  # a disk that is full, or may not be written; a cache that is in use
        raise SystemExit(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main()
