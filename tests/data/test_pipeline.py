import numpy as np
import pytest

from sdflow_jax.data.image_source import DataError
from sdflow_jax.data.pipeline import training_batches


class Faces:
    """Ten faces whose every feature tells which one it is."""

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return {
            "image": np.full((2, 2, 3), i, np.uint8),
            "w_plus": np.full((2, 3), i, np.float32),
            "predictions": np.asarray([i, 10 + i, 20 + i], np.float32),
            "face_id": i,
        }


def _batches(columns=(2, 0), **settings):
    return training_batches(Faces(), columns, **{"batch_size": 4, "seed": 1, **settings})


def _ids(batch):
    return batch["image"][:, 0, 0, 0].tolist()


def test_batches_hold_matching_parts_and_the_chosen_columns():
    batch = next(_batches())
    assert set(batch) == {"image", "w_plus", "predictions"}
    ids = np.asarray(_ids(batch), np.float32)
    np.testing.assert_array_equal(batch["w_plus"], np.broadcast_to(ids[:, None, None], (4, 2, 3)))
    np.testing.assert_array_equal(batch["predictions"], np.stack([20 + ids, ids], axis=1))
    assert batch["image"].dtype == np.uint8


def test_batches_lack_what_the_faces_lack():
    class Latents(Faces):
        def __getitem__(self, i):
            face = super().__getitem__(i)
            return {name: face[name] for name in ("w_plus", "predictions")}

    batch = next(training_batches(Latents(), (1,), batch_size=4, seed=1))
    assert set(batch) == {"w_plus", "predictions"} and batch["predictions"].shape == (4, 1)


def test_epochs_do_not_mix_and_are_shuffled_anew():
    batches = _batches(batch_size=5)
    epochs = [_ids(next(batches)) + _ids(next(batches)) for _ in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    other_seed = _batches(batch_size=5, seed=2)
    assert epochs[0] != _ids(next(other_seed)) + _ids(next(other_seed))


def test_saved_position_continues_with_the_same_batches():
    batches = _batches()
    for _ in range(3):
        next(batches)
    position = batches.get_state()
    expected = [_ids(next(batches)) for _ in range(4)]
    again = _batches()
    again.set_state(position)
    assert [_ids(next(again)) for _ in range(4)] == expected


def test_processes_share_the_faces_out():
    shares = [_batches(process_index=i, process_count=2) for i in range(2)]
    seen = [set(), set()]
    for share, ids in zip(shares, seen, strict=True):
        for _ in range(2):
            batch = next(share)
            assert len(batch["image"]) == 2
            ids.update(_ids(batch))
    assert not seen[0] & seen[1]


def test_impossible_batches_are_refused():
    with pytest.raises(DataError, match="at least as many faces, got 10"):
        _batches(batch_size=11)
    with pytest.raises(DataError, match="multiple of the 3 processes"):
        _batches(process_count=3)
