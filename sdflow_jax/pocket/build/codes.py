"""The codes of the build's faces, by seed.

A face below `FREE_SEEDS` is one sample of W at the truncation of the pocket data. Seeds from there
on are only ever used to teach networks what W+ looks like: their truncation varies, and a third of
them mix two samples.
"""

from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float
from numpy.typing import NDArray

from sdflow_jax.models.style_space import seeded_normal

TRUNCATION = 0.9
FREE_SEEDS = 100_000
NUM_STYLES = 18
_FREE_TRUNCATION = (0.7, 1.0)
_MIXED_SHARE = 1 / 3
_LAST_STYLE = 15  # the renderer reads no later one


class Codes(NamedTuple):
    """W+ codes of two styles at most: rows from `crossover` on have the second.

    Attributes:
      coarse: [b, d].
      fine: [b, d].
      crossover: [b], the number of rows where the code is one style.
    """

    coarse: NDArray[np.float32]
    fine: NDArray[np.float32]
    crossover: NDArray[np.int32]

    def w_plus(self, num_styles: int = NUM_STYLES) -> Float[np.ndarray, "b n d"]:
        """The whole codes."""
        rows = np.arange(num_styles)[None, :, None]
        is_coarse = rows < np.asarray(self.crossover)[:, None, None]
        return np.where(is_coarse, self.coarse[:, None, :], self.fine[:, None, :])


class CodeMaker:
    """Codes of seeds, by a generator's mapping network."""

    def __init__(self, generator: nnx.Module):
        graph, state = nnx.split(generator)
        self._state = nnx.to_pure_dict(state)
        self._style_dim = generator.style_dim

        @jax.jit
        def styles(state, z, truncation):
            module = nnx.merge(graph, state)
            return module.truncate(module.map(z), truncation[:, None])

        self._styles = styles

    def __call__(self, seeds: NDArray[np.int64]) -> Codes:
        """The codes of some seeds."""
        count = len(seeds)
        truncation = np.full(count, TRUNCATION, np.float32)
        crossover = np.full(count, NUM_STYLES, np.int32)
        z = seeded_normal(seeds, self._style_dim)
        fine_z = z.copy()
        for row in np.flatnonzero(np.asarray(seeds) >= FREE_SEEDS):
            random = np.random.default_rng((int(seeds[row]), 1))
            truncation[row] = random.uniform(*_FREE_TRUNCATION)
            if random.random() < _MIXED_SHARE:
                crossover[row] = random.integers(1, _LAST_STYLE + 1)
                fine_z[row] = random.standard_normal(z.shape[1])
        coarse = np.asarray(self._styles(self._state, z, truncation))
        mixed = crossover < NUM_STYLES
        if not mixed.any():
            return Codes(coarse, coarse, crossover)
        fine = np.asarray(self._styles(self._state, fine_z, truncation))
        return Codes(coarse, np.where(mixed[:, None], fine, coarse), crossover)
