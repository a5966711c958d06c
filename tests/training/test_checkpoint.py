import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.training.checkpoint import Checkpoints, RunCheckpointError
from tests.full_disk import full_disk

DATA = {"data": "abc", "batch_size": 2}


def _batches():
    dataset = grain.MapDataset.range(10).seed(0).shuffle().batch(2).repeat()
    return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)))


def _state(value: float, shape=(3,)):
    return {
        "trained": {"layers": {0: {"kernel": jnp.full(shape, value)}}},
        "key": jax.random.key(int(value)),
        "average": None,
    }


def _sharding():
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])


def _saved(directory, steps=(3,)):
    checkpoints = Checkpoints(directory, keep=2)
    batches = _batches()
    for step in steps:
        next(batches)
        checkpoints.save(step, _state(step), batches, DATA, {"count": step})
    checkpoints.close()
    return batches


def test_everything_comes_back(tmp_path):
    batches = _saved(tmp_path, steps=(3, 5))
    checkpoints = Checkpoints(tmp_path, keep=2)
    restored = checkpoints.restore(_state(0), _batches(), DATA, _sharding())
    assert restored.step == 5 and restored.notes == {"count": 5}
    np.testing.assert_array_equal(restored.state["trained"]["layers"][0]["kernel"], np.full(3, 5.0))
    assert restored.state["average"] is None
    assert jax.random.key_data(restored.state["key"]).tolist() == [0, 5]
    np.testing.assert_array_equal(next(restored.batches), next(batches))
    checkpoints.close()


def test_other_data_are_refused(tmp_path):
    _saved(tmp_path)
    checkpoints = Checkpoints(tmp_path, keep=2)
    with pytest.raises(RunCheckpointError, match="'batch_size': 2.*'batch_size': 4"):
        checkpoints.restore(_state(0), _batches(), {**DATA, "batch_size": 4}, _sharding())
    checkpoints.close()


def test_other_networks_are_refused_and_stay_where_they_are(tmp_path):
    _saved(tmp_path)
    checkpoints = Checkpoints(tmp_path, keep=2)
    with pytest.raises(RunCheckpointError, match=r"kernel is int32\[3\] there and int32\[4\] here"):
        checkpoints.restore(_state(0, shape=(4,)), _batches(), DATA, _sharding())
    assert checkpoints.latest_step == 3
    checkpoints.close()


def test_leftover_of_a_killed_save_is_ignored(tmp_path):
    _saved(tmp_path)
    (tmp_path / "5.orbax-checkpoint-tmp").mkdir()
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.latest_step == 3
    checkpoints.close()


def test_empty_directory_has_no_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new", keep=2)
    assert checkpoints.latest_step is None
    checkpoints.close()


def test_a_full_disk_is_told_in_one_sentence_and_leaves_whole_checkpoints(tmp_path):
    batches = _saved(tmp_path)
    checkpoints = Checkpoints(tmp_path, keep=2)
    noise = np.random.default_rng(0).standard_normal(50_000)  # that no compression makes small
    large = {**_state(5), "trained": {"kernel": jnp.asarray(noise)}}
    message = f"^no checkpoint could be written in {tmp_path}: File too large$"
    with full_disk(20_000):
        checkpoints.save(5, large, batches, DATA, {})
        with pytest.raises(RunCheckpointError, match=message):  # of the one before
            checkpoints.save(6, large, batches, DATA, {})
        checkpoints.save(7, large, batches, DATA, {})
        with pytest.raises(RunCheckpointError, match=message):
            checkpoints.close()
    assert [folder.name for folder in tmp_path.iterdir()] == ["3"]
