"""Build the pocket world: `python -m sdflow_jax.pocket.build --cache DIR [--stages faces,labels,...]`.

A round goes on from the networks in the weights' folder: encoder and generator start from theirs, guided by their
classifier and identity encoder. Every stage keeps checkpoints in the cache: a build that was killed goes on where it
was, and a new round wants a new cache.
"""

import argparse
import pathlib

from sdflow_jax.pocket.build import stages
from sdflow_jax.pocket.faces import WEIGHTS

STAGES = {
    "previous": stages.build_previous,
    "alignments": stages.build_alignments,
    "faces": stages.build_faces,
    "labels": stages.build_labels,
    "encoder": stages.build_encoder,
    "reconstructions": stages.build_reconstructions,
    "mapping": stages.build_mapping,
    "generator": stages.build_generator,
    "identity": stages.build_identity,
    "classifier": stages.build_classifier,
    "evaluation_classifier": stages.build_evaluation_classifier,
    "sdflow": stages.build_sdflow,
}


def main() -> None:
    """Run the asked stages in their order."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cache", type=pathlib.Path, required=True, help="working folder, about 2 GB"
    )
    parser.add_argument(
        "--weights", type=pathlib.Path, default=WEIGHTS, help="where the networks go"
    )
    parser.add_argument(
        "--stages", default=",".join(STAGES), help="comma-separated; all by default"
    )
    arguments = parser.parse_args()
    asked = arguments.stages.split(",")
    unknown = set(asked) - set(STAGES)
    if unknown:
        parser.error(f"unknown stage {', '.join(sorted(unknown))}; stages are {', '.join(STAGES)}")
    cache = stages.Cache(arguments.cache)
    arguments.weights.mkdir(parents=True, exist_ok=True)
    for name, build in STAGES.items():
        if name in asked:
            build(cache, arguments.weights)


if __name__ == "__main__":
    main()
