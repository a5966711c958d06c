"""The page's parts without a browser; what a visitor sees of them is in `test_browser.py`."""

import types

import numpy as np
import pytest
from PIL import Image

gr = pytest.importorskip("gradio", reason='needs gradio: pip install "sdflow_jax[demo]"')

from sdflow_jax.demo.page import _Actions, build_page, launch_arguments  # noqa: E402
from sdflow_jax.demo.settings import png_with  # noqa: E402
from sdflow_jax.demo.studio import Studio  # noqa: E402
from sdflow_jax.editor import Editor  # noqa: E402
from tests.exported_run import SIZE, write_run  # noqa: E402

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("run"))
    return Studio(Editor.from_workdir(run, batch_size=1), is_quick=True)


@pytest.fixture(scope="module")
def actions(studio):
    return _Actions(studio, 1)


def test_the_page_offers_no_programming_interface_and_counts_nobody(studio):
    page = build_page(studio, seeds=(1, 2))
    assert not page.analytics_enabled
    assert all(function.api_visibility == "private" for function in page.fns.values())
    assert page.get_api_info()["named_endpoints"] == {}


def test_nothing_of_the_pages_looks_is_fetched_from_elsewhere():
    arguments = launch_arguments()
    assert not arguments["theme"]._stylesheets
    for name in ("css", "js"):
        assert "http" not in arguments[name] and "@import" not in arguments[name]
    assert arguments["share"] is False and arguments["run_history"] is False


@pytest.mark.parametrize("content", [b"no picture", None])
def test_an_upload_is_gone_when_it_has_been_read(actions, tmp_path, content):
    path = tmp_path / "upload.png"
    if content is None:
        Image.fromarray(PIXELS).save(path)
        upload, face, *_ = actions.upload(str(path))
        assert upload is None and face.photo.shape == (40, 40, 3)
    else:
        path.write_bytes(content)
        with pytest.raises(gr.Error, match="cannot be opened as a picture"):
            actions.upload(str(path))
    assert not path.exists()


def test_a_picture_of_the_page_brings_its_settings_back(actions, tmp_path):
    path = tmp_path / "sdflow-5.png"
    path.write_bytes(png_with(PIXELS, {"seed": 5, "targets": {"Young": 0.75, "Hat": 1}}))
    _, face, *shown = actions.upload(str(path))
    assert face.seed == 5 and shown[5] == "seed=5&Young=0.75" and shown[6] == 0.75


def test_what_a_link_asks_for_in_vain_is_told_where_it_stays(actions):
    request = types.SimpleNamespace(query_params={"seed": "5", "Young": "old", "Eyeglasses": "1"})
    face, _, note, _, _, _, query, *values = actions.open(request)
    assert face.seed == 5 and query == "seed=5&Eyeglasses=1" and values[1] == 1.0
    assert "Young must be a number" in note


def test_what_is_asked_for_of_no_face_is_told(actions):
    for call in (
        lambda: actions.follow(None, 0.5, 0.5),
        lambda: actions.settle(None, 0.5, 0.5),
        lambda: actions.refine(None, 10, 0.5, 0.5),
        lambda: actions.sample("x"),
        lambda: list(actions.strip(None, "Young", 0.5, 0.5)),
    ):
        with pytest.raises(gr.Error):
            call()


def test_the_download_is_the_full_picture(actions, studio):
    face = studio.sample(5)
    file = actions.download(face, 1.0, studio.sliders(face)[1])
    assert file["name"] == "sdflow-5.png"
    assert file["content"].startswith("data:image/png;base64,")
    assert studio.full_size == SIZE
