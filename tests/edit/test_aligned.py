import numpy as np
import pytest
from PIL import Image, ImageCms

from sdflow_jax.align.cutting import cut_face
from sdflow_jax.align.faces import find_faces
from sdflow_jax.align.geometry import AlignError
from sdflow_jax.align.pasting import paste
from sdflow_jax.edit import work
from sdflow_jax.edit.__main__ import main
from sdflow_jax.editor import Editor
from tests.align.marked_faces import MarkedFaces, mark, smooth_photo, upright

PLAIN = smooth_photo(160, 260)
TWO = mark(mark(PLAIN, 0, upright(170, 60, 20)), 1, upright(50, 70, 20))
YOUNG = ("--set", "Young=1")


@pytest.fixture
def run(workdir, editor, tmp_path, monkeypatch):
    """The command line on photos of these names; returns its status and what it wrote."""
    monkeypatch.setattr(Editor, "from_workdir", classmethod(lambda cls, *_, **__: editor))
    monkeypatch.setattr(work, "load_finder", lambda name: MarkedFaces())

    def run(photos, *words):
        folder, out = tmp_path / "photos", tmp_path / "out"
        folder.mkdir(exist_ok=True)
        for name, pixels in photos.items():
            Image.fromarray(pixels).save(folder / name)
        given = [str(folder), "--workdir", str(workdir), "--out", str(out), *words]
        status = main(given)
        written = out.iterdir() if out.exists() else ()
        return status, {path.name: np.asarray(Image.open(path)) for path in written}

    run.workdir = str(workdir)
    return run


def test_every_face_of_a_photo_is_edited(run, editor):
    status, written = run({"two.png": TWO, "one.png": mark(PLAIN, 0, upright(60, 60, 20))},
                          *YOUNG, "--align")  # fmt: skip
    assert status == 0 and sorted(written) == ["one.png", "two-1.png", "two-2.png"]
    left, right = find_faces(TWO, MarkedFaces())
    assert left.square.center[0] < right.square.center[0]
    for name, face in (("two-1.png", left), ("two-2.png", right)):
        cut = cut_face(TWO, face.square, editor.picture_size)
        np.testing.assert_array_equal(written[name], editor(cut, {"Young": 1.0}))


def test_one_face_can_be_chosen_and_drawn_at_strengths(run):
    status, written = run({"two.png": TWO}, *YOUNG, "--align", "--face", "2", "--strip", "Young")
    assert status == 0 and sorted(written) == ["two-2-Young.png", "two-2.png"]


def test_edited_faces_are_put_back_into_the_photo(run, editor):
    status, written = run({"two.png": TWO}, *YOUNG, "--align", "--paste")
    assert status == 0 and list(written) == ["two.png"]
    squares = [face.square for face in find_faces(TWO, MarkedFaces())]
    expected = TWO
    for square, other in (squares, squares[::-1]):
        edited = editor(cut_face(TWO, square, editor.picture_size), {"Young": 1.0})
        expected = paste(expected, edited, square, others=[other])
    np.testing.assert_array_equal(written["two.png"], expected)
    assert (written["two.png"] != TWO).any()
    np.testing.assert_array_equal(written["two.png"][:10], TWO[:10])


def test_a_photo_with_edited_faces_keeps_its_colors_meaning(run, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(TWO).save(folder / "two.png", icc_profile=profile)
    words = (*YOUNG, "--align", "--strip", "Young")
    assert run({}, *words, "--paste")[0] == 0
    with Image.open(tmp_path / "out" / "two.png") as pasted:
        assert pasted.info["icc_profile"] == profile
    with Image.open(tmp_path / "out" / "two-1-Young.png") as strip:
        assert "icc_profile" not in strip.info
    assert run({}, *words)[0] == 0
    with Image.open(tmp_path / "out" / "two-1.png") as face:
        assert "icc_profile" not in face.info


def test_faces_are_not_written_over_what_lies_beside_the_photo(run, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    taken = tmp_path / "photos" / "two-2.png"
    Image.fromarray(PLAIN).save(taken)
    before = taken.read_bytes()
    words = (*YOUNG, "--align", "--out", str(tmp_path / "photos"))
    Image.fromarray(TWO).save(tmp_path / "photos" / "two.webp", lossless=True)
    status = main([str(tmp_path / "photos" / "two.webp"), "--workdir", run.workdir, *words])
    assert status == 1
    told = capsys.readouterr().err
    assert f"error: {tmp_path / 'photos' / 'two.webp'}: {taken} is there already" in told
    assert taken.read_bytes() == before and not (tmp_path / "photos" / "two-1.png").exists()


def test_photos_without_the_face_leave_the_others(run, capsys):
    photos = {
        "none.png": PLAIN,
        "one.png": mark(PLAIN, 0, upright(60, 60, 20)),
        "tiny.png": mark(PLAIN, 0, upright(60, 60, 4)),
        "two.png": TWO,
    }
    status, written = run(photos, *YOUNG, "--align", "--face", "2")
    assert status == 1 and list(written) == ["two-2.png"]
    told = capsys.readouterr().err.splitlines()
    assert "none.png: no face was found" in told[0]
    assert "one.png: there is no face 2; 1 found, from left to right" in told[1]
    assert told[3] == "3 of 4 photos could not be edited"


def test_a_finder_that_fails_leaves_the_others(run, capsys, monkeypatch):
    class Failing(MarkedFaces):
        def __call__(self, photo):
            if (photo == PLAIN).all():
                raise RuntimeError("no memory for it")
            return super().__call__(photo)

    monkeypatch.setattr(work, "load_finder", lambda name: Failing())
    status, written = run({"a.png": PLAIN, "two.png": TWO}, *YOUNG, "--align")
    assert status == 1 and list(written) == ["two-1.png", "two-2.png"]
    told = capsys.readouterr().err
    assert "a.png: no memory for it" in told and "1 of 2 photos could not be edited" in told


def test_tiny_faces_are_told(run, capsys):
    both = mark(mark(PLAIN, 0, upright(60, 60, 20)), 1, upright(200, 60, 4))
    alone = mark(PLAIN, 0, upright(60, 60, 4))
    status, written = run({"alone.png": alone, "both.png": both}, *YOUNG, "--align")
    assert status == 1 and list(written) == ["both-1.png"]
    told = capsys.readouterr().err
    assert "alone.png: faces of 16 pixels are too small; 64 are needed" in told
    assert "both.png: face 2 is too small, 16 pixels" in told


def test_faces_are_not_written_over_another_photos(run, capsys):
    status, written = run({"two.png": TWO, "two-1.png": TWO}, *YOUNG, "--align")
    assert status == 1 and sorted(written) == ["two-1-1.png", "two-1-2.png"]
    assert "two-1.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--align", "--crop"], "give one of them"),
        (["--paste"], "--paste is for the faces that --align finds"),
        (["--face", "1"], "--face is for the faces that --align finds"),
    ],
)
def test_what_does_not_go_together_is_one_line(run, capsys, words, message):
    assert run({"two.png": TWO}, *YOUNG, *words) == (1, {})
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_a_paste_needs_an_edit(run, capsys):
    assert run({"two.png": TWO}, "--strip", "Young", "--align", "--paste") == (1, {})
    assert "--paste needs something to paste" in capsys.readouterr().err


def test_without_the_extra_it_is_one_line(run, capsys, monkeypatch):
    def missing(name):
        raise AlignError("finding faces needs dlib")

    monkeypatch.setattr(work, "load_finder", missing)
    assert run({"two.png": TWO}, *YOUNG, "--align") == (1, {})
    assert capsys.readouterr().err == "error: finding faces needs dlib\n"
