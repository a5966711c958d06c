"""The pocket world's test faces: pictures with the latents that they were made of."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64, UInt8

from sdflow_jax.data.generator_samples import GeneratorSamples, read_seeds
from sdflow_jax.files import networks
from sdflow_jax.images.precision import in_float32
from sdflow_jax.pocket.build.codes import TRUNCATION

FIRST_TEST_SEED = 60_000
_BATCH_SIZE = 8


class PocketFaces(NamedTuple):
    """People who do not exist.

    Attributes:
      seeds: what each face was drawn with, rising.
      w_plus: latents, as an `Editor` takes them, n = 18 and d = 512.
      images: 8-bit pictures by the small generator, R = 128.
    """

    seeds: Int64[np.ndarray, " b"]
    w_plus: Float[np.ndarray, "b n d"]
    images: UInt8[np.ndarray, "b R R 3"]


@in_float32
def pocket_faces(num_faces: int = 8) -> PocketFaces:
    """The first test faces of the pocket world, those that `evaluate.py` edits there; all look grown
    up. They are samples of StyleGAN2-FFHQ's W (Karras et al. 2020; `pocket/MODEL_CARD.md`), drawn by
    seed, the same everywhere.

    Args:
      num_faces: how many, at least 1.

    Raises:
      ValueError: if there are not so many.
    """
    seeds = read_seeds("pocket:adult_seeds")
    seeds = seeds[seeds >= FIRST_TEST_SEED]
    if not 1 <= num_faces <= len(seeds):
        raise ValueError(f"there are 1 to {len(seeds)} pocket faces to be had, got {num_faces}")
    source = GeneratorSamples(
        {"generator": "pocket:generator"},
        {"test": seeds[:num_faces]},
        image_size=0,
        truncation=TRUNCATION,
        mixed_share=0.0,
        batch_size=min(num_faces, _BATCH_SIZE),
    )
    images = np.concatenate([images for _, images in source.split("test")])
    metadata = networks.read_metadata("pocket:generator")
    generator = networks.build_abstract(metadata["network"], metadata["arguments"])
    w_plus = np.repeat(source.latents(seeds[:num_faces]), generator.num_styles, axis=1)
    return PocketFaces(seeds[:num_faces], w_plus, images)
