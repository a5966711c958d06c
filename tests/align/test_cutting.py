import numpy as np
import pytest

from sdflow_jax.align.cutting import cut_face
from sdflow_jax.align.geometry import AlignError, FaceSquare


def colors(x, y):
    """Smooth colors of a place in a photo; means over a pixel's surroundings are nearly its own."""
    waves = (np.sin(x / 37.0), np.cos(y / 41.0), np.sin((x - y) / 53.0))
    return np.stack(waves, axis=-1) * 100 + 120


def photo(height=220, width=300):
    y, x = np.mgrid[0:height, 0:width].astype(float)
    return np.rint(colors(x, y)).astype(np.uint8)


def centers(size):
    """Face coordinates of the pixels' centres."""
    one = (np.arange(size) + 0.5) / size
    return np.stack(np.meshgrid(one, one), axis=-1)


@pytest.mark.parametrize("size", [16, 32, 100, 256])
@pytest.mark.parametrize("edge", [(120.0, 0.0), (110.0, 35.0), (-30.0, 100.0)])
def test_a_pixel_shows_its_place_in_the_photo(size, edge):
    middle = np.array([150.0, 110.0])
    down = np.array([-edge[1], edge[0]])
    square = FaceSquare(tuple(middle - (np.array(edge) + down) / 2), edge)
    face = cut_face(photo(), square, size)
    assert face.shape == (size, size, 3)
    places = square.to_photo(centers(size))
    # 8-bit colors are rounded, and Pillow's bilinear ones cut off; larger steps blur a little.
    np.testing.assert_allclose(face, colors(places[..., 0], places[..., 1]), atol=3.0)


@pytest.mark.parametrize("corner", [(-400.0, 20.0), (20.0, 900.0)])
def test_a_square_beside_the_photo_is_refused(corner):
    with pytest.raises(AlignError, match="beside the photo"):
        cut_face(photo(), FaceSquare(corner, (100.0, 0.0)), 32)


def test_a_face_that_is_the_whole_photo_comes_back_as_it_is():
    square = FaceSquare((19.5, 19.5), (160.0, 0.0))
    face = cut_face(photo(), square, 160)
    np.testing.assert_allclose(face.astype(int), photo()[20:180, 20:180], atol=2)


def test_beyond_the_photo_lies_its_blurred_mirror_image():
    pixels = photo()
    pixels[:, :4] = (250, 0, 0)  # the photo's left edge
    square = FaceSquare((-60.0, 30.0), (120.0, 0.0))
    face = cut_face(pixels, square, 120)
    # What lies deep inside the photo is untouched: the strip beside the edge is 60 / 3 wide.
    inside = slice(90, 118)
    np.testing.assert_allclose(
        face[20:100, inside].astype(int), pixels[50:130, 30:58].astype(int), atol=3
    )
    assert face.max(-1).min() > 20  # nothing is black, as it is beyond a picture for Pillow
    # At the outer edge all is close to one color, the median.
    outer, inner = (np.ptp(face[:, x].astype(int), axis=0).max() for x in (0, 100))
    assert outer < 0.25 * inner


def test_a_small_photo_around_a_large_square_is_no_trouble():
    face = cut_face(photo(9, 7), FaceSquare((-30.0, -30.0), (70.0, 3.0)), 32)
    assert face.shape == (32, 32, 3) and face.std() < 60
