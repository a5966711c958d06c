"""One batch over all devices: the state on each of them, the faces dealt out."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from sdflow_jax.files.config_groups import ConfigError


def replicate(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Put arrays, which every process has with the same values, on all devices of all processes."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    # device_put moves no array from one process's device to those of others, and no key at all.
    def put(x):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)))
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(put, tree)


class DataParallel:
    """A mesh of all devices of all processes, along which batches are split.

    The step is written for the whole batch; XLA inserts the sums over devices, so that losses and
    batch norm statistics are those of the whole batch.

    Args:
      batch_size: faces per step over all devices.
      devices: the devices to use, None for all there are.

    Raises:
      ConfigError: if the devices cannot share the batch evenly.
    """

    def __init__(self, batch_size: int, devices: Sequence[jax.Device] | None = None):
        devices = jax.devices() if devices is None else devices
        count = len(devices)
        if batch_size % count:
            raise ConfigError(
                f"config.training.batch_size must be a multiple of the {count} devices,"
                f" got {batch_size}"
            )
        # Explicit axes, jax's default, cannot differentiate a diffrax solve of a split batch.
        axis = (AxisType.Auto,)
        self.batch_size = batch_size
        self.mesh: Mesh = jax.make_mesh((count,), ("data",), axis_types=axis, devices=devices)
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.split = NamedSharding(self.mesh, PartitionSpec("data"))

    def replicate(self, tree: PyTree) -> PyTree:
        """Put the same arrays on every device."""
        return replicate(tree, self.replicated)

    def put_batch(self, batch: PyTree[np.ndarray]) -> PyTree[jax.Array]:
        """Deal this process's share of a batch out to its devices."""
        if jax.process_count() == 1:
            return jax.device_put(batch, self.split)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self.split, x), batch)
