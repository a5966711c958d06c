import numpy as np
import pytest

from sdflow_jax.methods.sample_pictures import labeled_rows


def test_rows_lie_below_each_other_with_a_label_at_the_left():
    colors = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * 40
    images = np.broadcast_to(colors, (2, 3, 8, 8, 3))
    grid = labeled_rows(["a", "a longer label"], images, smallest_side=10)
    height, width, _ = grid.shape
    assert height == 2 * (16 + 4) + 4  # enlarged by 2, the first whole factor beyond 10 pixels
    left = width - 3 * (16 + 4)
    for row in range(2):
        for column in range(3):
            top, start = 4 + row * 20, left + column * 20
            block = grid[top : top + 16, start : start + 16]
            assert (block == colors[row, column]).all()
    # Text left of both rows, and nothing of it reaching into the pictures.
    assert (grid[:24, :left] < 128).any() and (grid[24:, :left] < 128).any()
    assert (grid[:, left - 2 : left] == 255).all()


def test_headings_stand_above_their_columns():
    images = np.full((1, 3, 40, 40, 3), 200, np.uint8)
    plain = labeled_rows(["a"], images, smallest_side=40)
    grid = labeled_rows(["a"], images, headings=["0", "0.5", "1"], smallest_side=40)
    above = grid.shape[0] - plain.shape[0]
    np.testing.assert_array_equal(grid[above + 4 :], plain[4:])
    assert (grid[: above + 4] < 128).any() and not (plain[:4] < 128).any()
    with pytest.raises(ValueError, match="zip"):
        labeled_rows(["a"], images, headings=["0", "1"])
