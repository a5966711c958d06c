import numpy as np
import pytest

from sdflow_jax import read_image
from sdflow_jax.files.pictures import comment_of, write_png


def test_a_picture_is_read_as_it_was_written_or_not_there(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    write_png(tmp_path / "new" / "a.png", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), pixels)
    write_png(tmp_path / "new" / "a.png", pixels, comment="of nobody")
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), pixels)
    assert comment_of(tmp_path / "new" / "a.png") == "of nobody"
    (tmp_path / "text.png").write_text("no picture")
    assert comment_of(tmp_path / "text.png") == comment_of(tmp_path / "nowhere.png") == ""
    with pytest.raises((TypeError, OSError)):
        write_png(tmp_path / "new" / "b.png", pixels.astype(float))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]
