"""What may come in over the network: looked at before Gradio sees any of it.

Pages on other sites can make a browser ask this machine's servers for things, and programs need no
page at all; what the page's own forms would not send is refused here.
"""

import json
import re
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from http import HTTPStatus
from typing import Any

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_ALL_INTERFACES = ("0.0.0.0", "::")
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_LONGEST_QUOTE = 100

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Refusal(Exception):
    """A request that is not answered; the message says why to whoever sent it."""

    def __init__(self, status: HTTPStatus, reason: str):
        super().__init__(reason)
        self.status = status


class Guard:
    """An ASGI application that hands on to another what may come in, and refuses the rest.

    Args:
      app: the one behind it.
      host: at which the server listens, as `--host` names it. Requests for other names, but for those
        of the machine itself, are refused: a foreign site's name may lead here too (DNS rebinding).
        With 0.0.0.0 or :: every name is served.
      most_bytes: of a request's body.
    """

    def __init__(self, app, *, host: str, most_bytes: int):
        self.app = app
        self.most_bytes = most_bytes
        host = bare_host(host)
        self._names = None if host in _ALL_INTERFACES else {host, *_LOCAL_NAMES} - {""}

    async def __call__(self, scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check_sender(scope)
            _check_path(scope["path"])
            self._check_length(scope)
            kinds = _values(scope, b"content-type")
            if len(kinds) > 1:  # of which another may be read behind this
                raise Refusal(
                    HTTPStatus.BAD_REQUEST, "A request to this page has one Content-Type."
                )
            if kinds and kinds[0].lower().startswith("multipart/form-data"):
                receive = self._upload(receive)
            else:
                body = await self._body(receive)
                if body is None:  # whoever sent it is gone
                    return
                _check_files(body)
                receive = _once_more(body, receive)
        except Refusal as refusal:
            await _refuse(send, refusal)
            return
        await self.app(scope, receive, send)

    def _check_sender(self, scope) -> None:
        hosts = _values(scope, b"host")
        host = hosts[0] if len(hosts) == 1 else ""
        if self._names is not None and (name := _name_in(host)) not in self._names:
            names = ", ".join(sorted(self._names))
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                f"This page is served to those who ask for {names}, not for {_quoted(name)};"
                " start it with --host and the name that it is to have.",
            )
        for origin in _values(scope, b"origin"):
            if origin.lower().partition("://")[2] != host.lower():
                raise Refusal(
                    HTTPStatus.FORBIDDEN,
                    f"This page is used from its own address {_quoted(host)} only, not from"
                    f" {_quoted(origin)}.",
                )

    def _check_length(self, scope) -> None:
        told = _values(scope, b"content-length")
        if any(length.isdecimal() and int(length) > self.most_bytes for length in told):
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large())

    def _upload(self, receive: Receive) -> Receive:
        """An upload as it comes in, which is counted, since its length may be left out."""
        # At this exception, and at no other, Gradio deletes what it has written of an upload.
        from starlette.formparsers import MultiPartException

        size, is_complete = 0, False

        async def receive_some() -> Message:
            nonlocal size, is_complete
            message = await receive()
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if size > self.most_bytes:
                    raise MultiPartException(self._too_large())
                is_complete = not message.get("more_body", False)
            elif not is_complete:
                raise MultiPartException("The upload broke off.")
            return message

        return receive_some

    async def _body(self, receive: Receive) -> bytes | None:
        """All that a request holds; None if it broke off."""
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.most_bytes:
                raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large())
            if not message.get("more_body", False):
                return b"".join(parts)

    def _too_large(self) -> str:
        # By three of these words Gradio knows that it is to answer with 413.
        return f"A request to this page has a maximum allowed size of {self.most_bytes} bytes."


def bare_host(host: str) -> str:
    """A host as `--host` names it, in small letters and without an IPv6 address's brackets."""
    return host.lower().removeprefix("[").removesuffix("]")


def _check_path(path: str) -> None:
    """Gradio's `/file=` fetches for anybody what is at an address; its deep links write a page's state to the
    disk, the photo with it.
    """
    if path.rstrip("/").endswith("/deep_link"):
        raise Refusal(
            HTTPStatus.FORBIDDEN, "This page keeps nothing that a link could lead back to."
        )
    if "://" in path:
        raise Refusal(
            HTTPStatus.FORBIDDEN, f"This page fetches nothing from elsewhere: {_quoted(path)}."
        )


def _check_files(body: bytes) -> None:
    """Gradio downloads a file that is named by an address, however large, instead of uploaded."""
    if not body:
        return
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "A request to this page holds JSON or an upload."
        ) from None
    for path in _paths_in(content):
        if _ADDRESS.match(path):
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                f"This page takes files that are uploaded to it, not {_quoted(path)}.",
            )


def _once_more(body: bytes, receive: Receive) -> Receive:
    """A request that has been read; then when its connection ends, by which Gradio knows a closed page."""
    rest = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive_again() -> Message:
        return next(rest, None) or await receive()

    return receive_again


def _paths_in(content: Any) -> Iterator[str]:
    """What is named a path, anywhere in a JSON document."""
    left = [content]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            if isinstance(part.get("path"), str):
                yield part["path"]
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)


def _values(scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _name_in(host: str) -> str:
    """The name in a Host header, without its port; "" if there is none."""
    try:
        return urllib.parse.urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}...")


async def _refuse(send: Send, refusal: Refusal) -> None:
    body = str(refusal).encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
