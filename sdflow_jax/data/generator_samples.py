"""Faces that a generator makes up, with the latents that it made them of.

As StyleFlow trains (Abdal et al. 2021): no photos, and nothing to invert. A face is decided by its
seed, which is its identifier.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float32, Int64

from sdflow_jax.data.image_source import SPLITS, DataError, FaceBatch, check_ranges
from sdflow_jax.data.settings import DataSettings
from sdflow_jax.files import networks as network_files
from sdflow_jax.files.roles import load_role
from sdflow_jax.images.batching import batches_of, map_batches
from sdflow_jax.images.pixels import to_bytes
from sdflow_jax.models.style_space import seeded_normal
from sdflow_jax.models.synthesis import faces_of


class GeneratorSamples:
    """Samples of a generator; a `LatentSource`.

    The seed draws z ~ N(0, I), which becomes w by the mapping network and truncation. Where no face
    mixes two samples, all rows of a code would be the same w, and the latents are that one row.

    Args:
      files: role -> network file; the generator's is read when the first face is asked for.
      seeds: split -> seeds of its faces, none negative.
      image_size: side of the images in pixels; 0 for the generator's own.
      truncation: in [0, 1]; 0 makes every face the average one, 1 changes nothing.
      mixed_share: share of the faces whose rows have, from a random one on, a second sample.
      batch_size: faces per pass through the generator.
    """

    def __init__(
        self,
        files: Mapping[str, str],
        seeds: Mapping[str, Int64[np.ndarray, "f"]],
        *,
        image_size: int,
        truncation: float,
        mixed_share: float,
        batch_size: int,
    ):
        metadata = network_files.read_metadata(files["generator"])
        generator = network_files.build_abstract(metadata["network"], metadata["arguments"])
        self.image_size = image_size or generator.resolution
        num_rows = generator.num_styles if mixed_share else 1
        self.latent_shape = (num_rows, generator.style_dim)
        self._files = files
        self._seeds = seeds
        self._truncation = truncation
        self._mixed_share = mixed_share
        self._batch_size = batch_size

    def num_faces(self, split: str) -> int:
        return len(self._seeds.get(split, ()))

    def split(self, split: str) -> Iterator[FaceBatch]:
        _, synthesize = self._networks
        seeds = self._seeds.get(split, np.zeros(0, np.int64))
        for ids in batches_of(seeds, self._batch_size):
            yield ids, map_batches(synthesize, self._batch_size, self.latents(ids))

    def latents(self, ids: Int64[np.ndarray, "b"]) -> Float32[np.ndarray, "b n d"]:
        num_rows, dim = self.latent_shape
        z = seeded_normal(ids, dim)
        w = self._styles(z)[:, None]  # [b, 1, d]
        if not self._mixed_share:
            return w
        fine_z, crossover = z.copy(), np.full(len(ids), num_rows)
        for place, seed in enumerate(ids):
            random = np.random.default_rng((int(seed), 1))
            if random.random() < self._mixed_share:
                crossover[place] = random.integers(1, num_rows)
                fine_z[place] = random.standard_normal(dim)
        is_coarse = np.arange(num_rows)[None, :, None] < crossover[:, None, None]
        return np.where(is_coarse, w, self._styles(fine_z)[:, None])

    def _styles(self, z: np.ndarray) -> Float32[np.ndarray, "b d"]:
        style, _ = self._networks
        return map_batches(style, self._batch_size, z.astype(np.float32))

    @functools.cached_property
    def _networks(self):
        """The generator's two halves, compiled: z to w, and latents to 8-bit images."""
        graphdef, weights = nnx.split(load_role(self._files, "generator"))

        @jax.jit
        def style(weights, z):
            generator = nnx.merge(graphdef, weights)
            return generator.truncate(generator.map(z), self._truncation)

        @jax.jit
        def synthesize(weights, w_plus):
            return faces_of(nnx.merge(graphdef, weights), w_plus, self.image_size)

        pure = nnx.as_pure(weights)
        return (lambda z: style(pure, z)), (lambda w_plus: to_bytes(synthesize(pure, w_plus)))


def open_generator(
    data: DataSettings, networks: Mapping[str, str], image_size: int
) -> tuple[GeneratorSamples, dict[str, Any]]:
    """Open samples of the config's generator; see `open_source`.

    Raises:
      DataError: if the splits overlap, or hold fewer of the seeds that may be used than asked for.
    """
    allowed = read_seeds(data.seed_list) if data.seed_list else None
    source = GeneratorSamples(
        networks,
        choose_seeds(data.splits, data.limits, allowed),
        image_size=image_size,
        truncation=data.truncation,
        mixed_share=data.mixed_share,
        batch_size=data.annotation_batch_size,
    )
    return source, {
        "kind": "generator",
        "generator": network_files.digest(networks["generator"]),
        "splits": {name: list(ends) for name, ends in sorted(data.splits.items())},
        "seed_list": "" if allowed is None else hashlib.sha256(allowed).hexdigest()[:16],
        "truncation": data.truncation,
        "mixed_share": data.mixed_share,
    }


def choose_seeds(
    splits: Mapping[str, tuple[int, int]],
    limits: Mapping[str, int],
    allowed: Int64[np.ndarray, "s"] | None = None,
) -> dict[str, Int64[np.ndarray, "f"]]:
    """The seeds of each split.

    Args:
      splits: split -> first seed and last + 1.
      limits: split -> how many of them, from the first on; all in a split that is not named.
      allowed: seeds that may be used; None for all.

    Raises:
      DataError: if splits are unknown, empty or overlap, or a split has fewer seeds than its limit.
    """
    check_ranges(splits)
    chosen = {}
    for name in SPLITS:
        first, stop = splits.get(name, (0, 0))
        limit = limits.get(name, stop - first)
        if allowed is None:
            seeds = np.arange(first, min(stop, first + limit), dtype=np.int64)
        else:
            seeds = allowed[(first <= allowed) & (allowed < stop)]
            seeds = seeds[: limits.get(name, len(seeds))]
        if len(seeds) < limits.get(name, 0):
            raise DataError(
                f"config.data.limits asks for {limit} {name} faces, and config.data.splits has"
                f" {len(seeds)} seeds for them that may be used"
            )
        chosen[name] = seeds
    return chosen


def read_seeds(path: str) -> Int64[np.ndarray, "s"]:
    """The seeds in a file, rising.

    Args:
      path: of a .npy file, or `pocket:NAME` for a packaged one.

    Raises:
      NetworkFileError: for an unknown packaged file.
      DataError: if the file cannot be read, or holds no row of whole numbers.
    """
    file = network_files.resolve(path, suffix=".npy")
    try:
        seeds = np.load(file, allow_pickle=False)
    except Exception as error:  # whatever a damaged header leads to
        raise DataError(f"config.data.seed_list: {file} cannot be read ({error})") from error
    if not isinstance(seeds, np.ndarray) or seeds.ndim != 1 or seeds.dtype.kind not in "iu":
        raise DataError(f"config.data.seed_list: {file} must hold whole numbers in one row")
    return np.unique(seeds).astype(np.int64)
