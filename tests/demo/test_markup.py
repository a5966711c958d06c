import numpy as np

from sdflow_jax.demo import markup

PIXELS = np.full((8, 8, 3), 128, np.uint8)


def test_pictures_are_in_the_text_itself():
    tag = markup.image_tag(PIXELS, 'a "face"')
    assert 'src="data:image/jpeg;base64,' in tag and "&quot;face&quot;" in tag


def test_names_out_of_files_are_no_markup():
    table = markup.readings(("<b>Hat</b>",), {"before": np.array([0.2])}, {}, "")
    assert "<b>Hat" not in table and "&lt;b&gt;hat" in table
    assert "<script" not in markup.note("<script>")


def test_a_reading_has_its_number_its_bar_and_what_was_asked():
    columns = {"before": np.array([0.25, 0.5]), "edited": np.array([1.25, 0.5])}
    table = markup.readings(("Young", "Male"), columns, {"Young": 0.9}, "")
    assert "--share: 25.0%" in table and "--share: 100.0%" in table
    assert "1.25" in table and "<td>0.90</td>" in table and "<td>–</td>" in table


def test_a_strip_has_a_frame_for_every_strength_from_the_start():
    strip = markup.strip("Young", [(0.25, PIXELS, 0.31)], 5)
    assert strip.count("<figure") == 5 and strip.count("<img") == 1
    assert "measured 0.31" in strip


def test_only_a_photo_can_be_compared_with():
    assert "sd-photo" not in markup.before_stack(PIXELS, None)
    assert "sd-photo" in markup.before_stack(PIXELS, PIXELS)
