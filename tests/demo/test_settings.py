import io
import json

import numpy as np
import pytest
from PIL import Image

from sdflow_jax.demo.settings import Settings, checked_seed, notes_in, png_with, settings_of

ATTRIBUTES = ("Young", "Eyeglasses")
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def parts_of(query):
    return dict(part.split("=") for part in query.split("&"))


def test_a_link_says_the_seed_and_what_is_edited():
    settings = Settings(60_001, {"Young": 0.25, "Eyeglasses": -0.1})
    assert settings.query() == "seed=60001&Young=0.25&Eyeglasses=-0.1"
    assert settings_of(parts_of(settings.query()), ATTRIBUTES) == (settings, ())


def test_a_photos_link_holds_no_face():
    assert Settings(None, {"Young": 1.0}).query() == "Young=1"
    assert Settings().query() == ""


@pytest.mark.parametrize("value", ["old", "nan", "inf", "2", "-0.51", "", None, True, [1]])
def test_a_value_that_no_slider_has_is_left_out_and_told(value):
    settings, problems = settings_of({"Young": value, "seed": "7", "utm": "x"}, ATTRIBUTES)
    assert settings == Settings(7, {})
    assert problems == ("Young must be a number from -0.5 to 1.5",)


@pytest.mark.parametrize("value", ["-1", "1.5", "x", "1e400", str(2**32), None])
def test_a_seed_that_is_none_is_left_out_and_told(value):
    settings, (problem,) = settings_of({"seed": value}, ATTRIBUTES)
    assert settings.seed is None and problem.startswith("a seed is a whole number")


def test_the_largest_seed_is_one():
    assert checked_seed(2**32 - 1) == 4294967295


def test_a_picture_holds_its_settings_and_its_pixels(tmp_path):
    notes = {"seed": 3, "targets": {"Young": 0.5}, "name": "é"}
    path = tmp_path / "face.png"
    path.write_bytes(png_with(PIXELS, notes))
    assert notes_in(path) == notes
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), PIXELS)
        assert json.loads(image.text["sdflow_jax"]) == notes
    assert b"tEXt" in path.read_bytes()


def test_settings_are_read_without_the_pixels(tmp_path, monkeypatch):
    path = tmp_path / "face.png"
    path.write_bytes(png_with(PIXELS, {"seed": 3}))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("decoded"))
    assert notes_in(path) == {"seed": 3}


def test_other_files_hold_no_settings(tmp_path):
    path = tmp_path / "other"
    path.write_bytes(b"nothing")
    assert notes_in(path) == {}
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    path.write_bytes(stream.getvalue())
    assert notes_in(path) == {}
    for notes in ([1], "x" * 20_000):  # not an object; longer than any that this page writes
        path.write_bytes(png_with(PIXELS, notes))
        assert notes_in(path) == {}
    assert notes_in(tmp_path / "gone") == {}
