import numpy as np
import pytest

from sdflow_jax import load_network, pocket_faces, to_bytes
from sdflow_jax.files import networks
from sdflow_jax.models.synthesis import faces_of


def test_faces_are_the_first_grown_up_ones_and_their_latents_make_them():
    faces = pocket_faces(2)
    adults = np.load(networks.resolve("pocket:adult_seeds", suffix=".npy"))
    np.testing.assert_array_equal(faces.seeds, adults[adults >= 60_000][:2])
    assert faces.w_plus.shape == (2, 18, 512) and faces.images.shape == (2, 128, 128, 3)
    again = to_bytes(faces_of(load_network("pocket:generator"), faces.w_plus[1:], 128))[0]
    # Compiled for another batch size: a pixel may round the other way.
    assert np.abs(again.astype(int) - faces.images[1]).max() <= 1
    assert np.abs(again.astype(int) - faces.images[0]).mean() > 10


@pytest.mark.parametrize("count", [0, 10_000])
def test_as_many_as_there_are(count):
    with pytest.raises(ValueError, match=rf"1 to \d+ pocket faces to be had, got {count}"):
        pocket_faces(count)
