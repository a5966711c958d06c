"""The page as a server: what programs can ask of it, and what it keeps of whom."""

import contextlib
import datetime
import io
import json
import pathlib
import socket
import time

import numpy as np
import pytest
from PIL import Image

gr = pytest.importorskip("gradio", reason='needs gradio: pip install "sdflow_jax[demo]"')
import httpx  # noqa: E402

from sdflow_jax.demo.page import _forget_unused, build_page, launch_arguments  # noqa: E402
from sdflow_jax.demo.studio import Studio  # noqa: E402
from sdflow_jax.editor import Editor  # noqa: E402
from tests.exported_run import write_run  # noqa: E402

_SECONDS = 60
_SLIDERS = (0.9, 0.2)


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    """The folder of what is uploaded."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def page(tmp_path_factory, uploads):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = write_run(tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        page = build_page(Studio(Editor.from_workdir(run, batch_size=1), is_quick=True), seeds=(1,))
        page.launch(
            server_name="127.0.0.1",
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            **launch_arguments(),
        )
        yield page
        page.close(verbose=False)


@pytest.fixture(scope="module")
def web(page):
    with httpx.Client(base_url=page.local_url, timeout=_SECONDS) as client:
        yield client


class Visitor:
    """Asks for what a browser's page asks for, in a session of its own."""

    def __init__(self, page, web, session: str):
        self.page, self.web, self.session = page, web, session

    @contextlib.contextmanager
    def visiting(self):
        """While the page is open."""
        with self.web.stream("GET", f"/gradio_api/heartbeat/{self.session}") as beat:
            pulse = beat.iter_raw()  # which ends the connection when it is let go of
            next(pulse)
            yield self

    def join(self, name: str, *values):
        # A slider each is followed by the same function.
        number = next(n for n, x in self.page.fns.items() if x.fn and x.fn.__name__ == name)
        request = {"data": values, "fn_index": number, "session_hash": self.session}
        return self.web.post("/gradio_api/queue/join", json=request)

    def call(self, name: str, *values):
        """What a function of the page gives; its error as a str."""
        self.join(name, *values).raise_for_status()
        query = {"session_hash": self.session}
        with self.web.stream("GET", "/gradio_api/queue/data", params=query) as answers:
            for line in answers.iter_lines():
                message = json.loads(line.removeprefix("data:") or "{}")
                if message.get("msg") == "process_completed":
                    output = message["output"]
                    return output["data"] if message["success"] else output["error"]

    def holds_a_face(self) -> bool:
        sessions = self.page.app.state_holder.session_data
        return (
            any(sessions[self.session].state_data.values()) if self.session in sessions else False
        )


@pytest.fixture
def visitor(page, web, request):
    return Visitor(page, web, request.node.name)


def photo() -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def upload(web, *contents: bytes):
    files = [("files", ("photo.png", content, "image/png")) for content in contents]
    return web.post("/gradio_api/upload", files=files)


def named(path: str) -> dict:
    return {"path": path, "orig_name": "photo.png", "meta": {"_type": "gradio.FileData"}}


def files_in(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def until(condition) -> None:
    end = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_visitors_may_choose_the_same_picture(page, web, uploads):
    paths = [upload(web, photo()).json()[0] for _ in range(2)]
    for name, path in zip(("one", "other"), paths, strict=True):
        answer = Visitor(page, web, name).call("upload", named(path))
        assert "Your photo, inverted" in str(answer)
    assert not files_in(uploads)


def test_a_page_that_is_closed_is_forgotten(page, visitor):
    sessions = page.app.state_holder
    unread = page._queue.pending_messages_per_session
    with visitor.visiting():
        visitor.call("open")
        assert isinstance(visitor.call("settle", None, *_SLIDERS), list)
        assert visitor.holds_a_face()
        visitor.join("settle", None, *_SLIDERS)  # and the answer is not read
        until(lambda: unread[visitor.session].qsize() == 3)  # queued, begun, done
    until(lambda: visitor.session not in sessions and unread[visitor.session].empty())
    assert visitor.session not in sessions.time_last_used
    assert "is forgotten" in visitor.call("settle", None, *_SLIDERS)


@pytest.mark.parametrize("name", ["follow", "settle", "download"])
def test_a_face_stays_while_it_is_used_and_for_an_hour(page, visitor, name):
    used = page.app.state_holder.time_last_used
    visitor.call("open")
    used[visitor.session] -= datetime.timedelta(minutes=59)
    assert visitor.join(name, None, *_SLIDERS).status_code == 200
    assert datetime.datetime.now() - used[visitor.session] < datetime.timedelta(minutes=1)
    _forget_unused(page.app)
    assert visitor.holds_a_face()
    used[visitor.session] -= datetime.timedelta(minutes=61)
    _forget_unused(page.app)
    assert not visitor.holds_a_face() and visitor.session not in used


def test_nothing_is_fetched_from_elsewhere(web, visitor):
    address = "http://127.0.0.1:9/photo.png"
    for answer in (
        visitor.join("upload", named(address)),
        visitor.join("settle", None, named(address), 0.2),
        web.get(f"/gradio_api/file={address}"),
    ):
        assert answer.status_code == 403 and address in answer.text


def test_other_sites_are_not_answered(web):
    assert web.get("/config").status_code == 200
    for header in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        answer = web.get("/config", headers=header)
        assert answer.status_code == 403 and "evil.example" in answer.text


_HEAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'


def test_a_request_has_a_largest_size(web, uploads):
    before = files_in(uploads)
    large = bytes(15 * 2**20)
    assert upload(web, large, large).status_code == 413
    assert upload(web, bytes(20 * 2**20 + 1)).status_code == 413
    parts = (_HEAD, large, b"\r\n", _HEAD, large, b"\r\n--x--\r\n")
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = web.post("/gradio_api/upload", content=iter(parts), headers=kind)  # tells no length
    assert answer.status_code == 413 and "maximum" in answer.text
    assert files_in(uploads) == before
    (path,) = upload(web, bytes(20 * 2**20)).json()
    pathlib.Path(path).unlink()


def test_nothing_is_left_of_an_upload_that_breaks_off(page, uploads):
    before = files_in(uploads)
    address = ("127.0.0.1", page.server_port)
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost:{page.server_port}\r\n"
    head += "Content-Length: 5000000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
    with socket.create_connection(address) as connection:
        connection.sendall(head.encode() + _HEAD + bytes(1_000_000))
        until(lambda: files_in(uploads) != before)
    until(lambda: files_in(uploads) == before)
