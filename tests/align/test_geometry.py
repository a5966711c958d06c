import math

import numpy as np
import pytest

from sdflow_jax.align.geometry import AlignError, FacePoints, FaceSquare

UPRIGHT = FacePoints((40.0, 50.0), (60.0, 50.0), (42.0, 80.0), (58.0, 80.0))


def turned(points: FacePoints, angle: float) -> FacePoints:
    """Turned about the origin, clockwise on a screen."""
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    each = (points.left_eye, points.right_eye, points.mouth_left, points.mouth_right)
    return FacePoints(*(tuple(matrix @ np.array(point)) for point in each))


def test_an_upright_face_has_the_square_of_the_formula():
    # Eyes 20 apart, mouth 30 below: side 3.6 x 30 = 108, centre 3 below the eyes.
    square = FaceSquare.of_points(UPRIGHT)
    assert square.side == pytest.approx(108)
    assert square.center == pytest.approx((50, 53))
    np.testing.assert_allclose(square.corners, [(-4, -1), (-4, 107), (104, 107), (104, -1)])


def test_a_wide_face_is_measured_by_its_eyes():
    square = FaceSquare.of_points(FacePoints((0, 0), (40, 0), (10, 20), (30, 20)))
    assert square.side == pytest.approx(160)
    assert square.center == pytest.approx((20, 2))


def test_a_skew_face_is_turned_halfway():
    # Eyes (4, 0) apart; the mouth (3, 5) from between them: direction (4, 0) + (5, -3).
    square = FaceSquare.of_points(FacePoints((0, 0), (4, 0), (4, 5), (6, 5)))
    side = 3.6 * math.sqrt(34)
    assert square.edge == pytest.approx((9 / math.sqrt(90) * side, -3 / math.sqrt(90) * side))
    assert square.center == pytest.approx((2.3, 0.5))


@pytest.mark.parametrize("angle", [0.3, -1.2, math.pi])
def test_the_square_turns_with_the_face(angle):
    expected = [turned(FacePoints(*map(tuple, FaceSquare.of_points(UPRIGHT).corners)), angle)]
    corners = FaceSquare.of_points(turned(UPRIGHT, angle)).corners
    (whole,) = expected
    wanted = [whole.left_eye, whole.right_eye, whole.mouth_left, whole.mouth_right]
    np.testing.assert_allclose(corners, wanted, atol=1e-9)


def test_points_are_the_means_of_their_landmarks():
    landmarks = np.zeros((68, 2))
    landmarks[36:42] = [[1, 2], [3, 2], [1, 4], [3, 4], [2, 3], [2, 3]]
    landmarks[42:48] = 7.0
    landmarks[48], landmarks[54] = (5, 6), (8, 9)
    points = FacePoints.of_landmarks(landmarks)
    assert points == FacePoints((2.0, 3.0), (7.0, 7.0), (5.0, 6.0), (8.0, 9.0))
    with pytest.raises(ValueError, match="expected landmarks"):
        FacePoints.of_landmarks(landmarks[:5])


def test_points_without_a_direction_are_refused():
    with pytest.raises(ValueError, match="no direction"):
        FaceSquare.of_points(FacePoints((1, 1), (1, 1), (1, 1), (1, 1)))


def test_coordinates_go_there_and_back():
    square = FaceSquare((3.0, -2.0), (4.0, 3.0))
    assert square.side == 5.0
    np.testing.assert_allclose(square.to_photo(np.array([1.0, 0.0])), (7, 1))
    np.testing.assert_allclose(square.to_photo(np.array([0.0, 1.0])), (0, 2))
    points = np.random.default_rng(0).normal(size=(3, 4, 2))
    np.testing.assert_allclose(square.to_face(square.to_photo(points)), points)


def test_a_photo_scales_about_its_corner():
    # The square of pixels 2 to 5 covers [2, 6) of the photo, and [1, 3) of half of it.
    square = FaceSquare((1.5, 1.5), (4.0, 0.0)).scaled(0.5, 0.5)
    assert square == FaceSquare((0.5, 0.5), (2.0, 0.0))


def test_squares_are_kept_as_json():
    square = FaceSquare((1.25, -3.5), (10.0, 2.0))
    assert FaceSquare.from_json(square.to_json()) == square
    for wrong in (None, {}, {"corner": [0, 0]}, {"corner": [0], "edge": [1, 1]}, [1, 2]):
        with pytest.raises(AlignError, match="expected the square"):
            FaceSquare.from_json(wrong)
    with pytest.raises(AlignError, match="expected the square"):
        FaceSquare.from_json({"corner": [0, math.nan], "edge": [1, 1]})
    with pytest.raises(AlignError, match="expected the square"):
        FaceSquare.from_json({"corner": [0, 0], "edge": [0, 0]})
