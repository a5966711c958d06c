import numpy as np
import pytest

from sdflow_jax import read_image
from sdflow_jax.files.pictures import write_png


def test_a_picture_is_read_as_it_was_written_or_not_there(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    write_png(tmp_path / "new" / "a.png", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), pixels)
    with pytest.raises((TypeError, OSError)):
        write_png(tmp_path / "new" / "b.png", pixels.astype(float))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]
