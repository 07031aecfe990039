"""HTTP/1.1 around h11: read one request, write one answer.

A connection serves one request, then it closes or becomes a WebSocket (RFC 6455, 4.2). Bytes that
came after the head of an upgrade belong to the WebSocket and are handed on.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import h11
import trio

MAX_RECEIVE_BYTES = 65_536
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


class HttpRequest(NamedTuple):
    """The head of a request; names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[bytes, bytes]

    @property
    def is_upgrade(self) -> bool:
        """Whether this is a sound WebSocket handshake."""
        connection = self.headers.get(b"connection", b"").lower()
        return (
            self.method == "GET"
            and self.headers.get(b"upgrade", b"").lower() == b"websocket"
            and b"upgrade" in [option.strip() for option in connection.split(b",")]
            and self.headers.get(b"sec-websocket-version") == b"13"
            and b"sec-websocket-key" in self.headers
        )

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class HttpAnswer(NamedTuple):
    """Status, JSON body, and headers in addition to those of every answer."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


async def read_request(stream: trio.abc.Stream, http: h11.Connection) -> HttpRequest | None:
    """Return the next request, its body skipped; None if the client left first.

    Raises h11.RemoteProtocolError.
    """
    request = None
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(MAX_RECEIVE_BYTES)))
        elif isinstance(event, h11.Request):
            headers = {bytes(name): bytes(value) for name, value in event.headers}
            target = event.target.decode("ascii", errors="replace")
            request = HttpRequest(event.method.decode("ascii"), target, headers)
        elif not isinstance(event, h11.Data):
            return request if isinstance(event, h11.EndOfMessage) else None


def render_upgrade(http: h11.Connection, request: HttpRequest, key: bytes = b"") -> bytes:
    """Return what accepts a WebSocket handshake, or that of another `key`."""
    key = key or request.headers[b"sec-websocket-key"]
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    head = h11.InformationalResponse(
        status_code=101,
        headers=[
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", accept),
        ],
    )
    return http.send(head) or b""


def render_answer(http: h11.Connection, answer: HttpAnswer) -> bytes:
    """Return `answer` as bytes; it is the last one on this connection."""
    head = h11.Response(
        status_code=answer.status,
        headers=[
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(answer.body))),
            ("Connection", "close"),
            *answer.headers,
        ],
    )
    parts = (head, h11.Data(data=answer.body), h11.EndOfMessage())
    return b"".join(http.send(part) or b"" for part in parts)
