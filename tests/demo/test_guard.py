import asyncio
import json

import pytest

from sdflow_jax.demo.guard import Guard

MOST = 1000


def ask(headers=(), *, host="127.0.0.1", path="/gradio_api/queue/join", bodies=(b"",), ends=True):
    """What the application behind a guard was given of a request, and the status and text it got."""
    given, sent = [], []
    messages = [{"type": "http.request", "body": body, "more_body": True} for body in bodies]
    if ends:
        messages[-1]["more_body"] = False
    messages.append({"type": "http.disconnect"})
    messages.reverse()

    async def receive():
        return messages.pop()

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        while not given or given[-1]["type"] != "http.disconnect":
            given.append(await receive())

    scope = {
        "type": "http",
        "path": path,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(Guard(app, host=host, most_bytes=MOST)(scope, receive, send))
    status = sent[0]["status"] if sent else None
    return given, status, sent[1]["body"].decode() if sent else ""


HERE = ("Host", "127.0.0.1:7860")


def test_a_request_of_two_kinds_is_refused():
    kinds = (("Content-Type", ""), ("Content-Type", "multipart/form-data; boundary=x"))
    given, status, text = ask([HERE, *kinds], bodies=(b"{}",))
    assert (status, given) == (400, []) and "one Content-Type" in text


@pytest.mark.parametrize(
    ("host", "name", "origin"),
    [
        ("127.0.0.1", "127.0.0.1:7860", None),
        ("127.0.0.1", "LOCALHOST:7860", "http://localhost:7860"),
        ("127.0.0.1", "[::1]:7860", "http://[::1]:7860"),
        ("[fe80::2]", "[fe80::2]:7860", None),
        ("Faces.example", "faces.example", "https://faces.example"),
        ("0.0.0.0", "any.example:7860", "http://any.example:7860"),
        ("::", "10.1.2.3", None),
    ],
)
def test_the_servers_own_names_are_served(host, name, origin):
    headers = [("Host", name), *([("Origin", origin)] if origin else [])]
    given, status, _ = ask(headers, host=host)
    assert given and status is None


@pytest.mark.parametrize(
    ("host", "headers", "told"),
    [
        ("127.0.0.1", [("Host", "evil.example:7860")], "'evil.example'"),
        ("127.0.0.1", [("Host", "0.0.0.0:7860")], "'0.0.0.0'"),
        ("127.0.0.1", [("Host", "localhost.evil.example")], "'localhost.evil.example'"),
        ("127.0.0.1", [("Host", "[::1")], "''"),
        ("127.0.0.1", [], "''"),
        ("127.0.0.1", [HERE, ("Host", "evil.example")], "''"),
        ("127.0.0.1", [HERE, ("Origin", "http://evil.example")], "'http://evil.example'"),
        ("127.0.0.1", [HERE, ("Origin", "http://127.0.0.1:8888")], "'http://127.0.0.1:8888'"),
        ("127.0.0.1", [HERE, ("Origin", "null")], "'null'"),
        ("0.0.0.0", [("Host", "a.example"), ("Origin", "http://b.example")], "'http://b.example'"),
    ],
)
def test_what_another_site_sends_is_refused_in_a_sentence(host, headers, told):
    given, status, text = ask(headers, host=host)
    assert not given and status == 403 and told in text


@pytest.mark.parametrize(
    ("length", "bodies"),
    [(str(MOST + 1), (b"",)), (None, (b"x" * MOST, b"x")), ("5", (b"x" * 600, b"x" * 600))],
)
def test_a_large_request_is_refused_whether_or_not_it_says_so(length, bodies):
    headers = [HERE, *([("Content-Length", length)] if length else [])]
    given, status, text = ask(headers, bodies=bodies)
    assert not given and status == 413 and str(MOST) in text


def test_a_request_is_handed_on_complete_and_its_end_told():
    body = json.dumps({"data": ["x" * 600, 1]}).encode()
    given, _, _ = ask([HERE], bodies=(body[:500], body[500:]))
    assert given[0] == {"type": "http.request", "body": body, "more_body": False}
    assert given[1:] == [{"type": "http.disconnect"}]
    given, status, _ = ask([HERE], bodies=(b"half",), ends=False)
    assert not given and status is None


UPLOAD = ("Content-Type", "Multipart/form-data; boundary=x")


def test_an_upload_is_handed_on_as_it_comes():
    pytest.importorskip("starlette.formparsers", reason="comes with gradio")
    given, _, _ = ask([HERE, UPLOAD], bodies=(b"a" * 600, b"b" * 400))
    assert [message.get("body") for message in given] == [b"a" * 600, b"b" * 400, None]


@pytest.mark.parametrize(
    ("bodies", "ends", "told"),
    [
        ((b"a" * 600, b"b" * 401), True, "maximum allowed size of 1000"),
        ((b"a",), False, "broke off"),
    ],
)
def test_an_upload_that_is_too_large_or_breaks_off_is_told_to_its_parser(bodies, ends, told):
    parsers = pytest.importorskip("starlette.formparsers", reason="comes with gradio")
    with pytest.raises(parsers.MultiPartException, match=told):
        ask([HERE, UPLOAD], bodies=bodies, ends=ends)


@pytest.mark.parametrize(
    "path", ["http://a.example/x.png", "HTTPS://a.example", " ftp://a.example"]
)
def test_a_file_that_lies_elsewhere_is_refused(path):
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    given, status, text = ask([HERE], bodies=(json.dumps({"data": [0, [file]]}).encode(),))
    assert not given and status == 403 and "uploaded to it" in text
    file["path"] = "/tmp/uploads/1/x.png"
    assert ask([HERE], bodies=(json.dumps({"data": [file]}).encode(),))[0]


def test_nothing_is_fetched_for_others():
    path = "/gradio_api/file=https://a.example/x.png"
    given, status, text = ask([HERE], path=path)
    assert not given and status == 403 and "a.example" in text


def test_no_page_is_written_to_the_disk_for_a_link():
    given, status, text = ask([HERE], path="/gradio_api/deep_link")
    assert not given and status == 403 and "keeps nothing" in text


@pytest.mark.parametrize("body", [b"hello", b"[" * 900])
def test_a_body_that_is_neither_json_nor_an_upload_is_refused(body):
    given, status, _ = ask([HERE], bodies=(body,))
    assert not given and status == 400
