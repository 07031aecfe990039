"""Frames as a server sends them, and what wsproto makes of a connection's bytes.

`read_with_wsproto` is the reference: everything goes through wsproto, and parts of messages are
joined and measured as trio-websocket does. `read_with_splitter` is the collector's way: the splitter
first, wsproto for what it leaves.
"""

from collections.abc import Iterable
from typing import NamedTuple

from wsproto.connection import CLIENT, Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from trio_collector.feed.wire.frames import FrameSplitter

# The accept token is not checked by the splitter.
HANDSHAKE = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
)
MASK = bytes(4)  # masking with it changes nothing


class Outcome(NamedTuple):
    """What a client gets out of a connection."""

    messages: list[bytes]
    pings: list[bytes]
    pongs: list[bytes]
    code: int | None  # of the close frame or of the protocol error; None: still open


def server_frame(
    payload: bytes,
    opcode: int = 1,
    *,
    is_final: bool = True,
    rsv: int = 0,
    is_masked: bool = False,
    length_form: int | None = None,
) -> bytes:
    """Return a frame; `length_form` (125, 126 or 127) chooses how its length is written."""
    size = len(payload)
    if length_form is None:
        length_form = 125 if size <= 125 else 126 if size < 65_536 else 127
    length = {
        125: bytes([min(size, 125)]),
        126: b"\x7e" + (size & 0xFFFF).to_bytes(2, "big"),
        127: b"\x7f" + size.to_bytes(8, "big"),
    }[length_form]
    first = is_final << 7 | rsv << 4 | opcode
    second = length[0] | is_masked << 7
    return bytes([first, second]) + length[1:] + (MASK if is_masked else b"") + payload


class _Client:
    """A wsproto client that joins and measures messages as trio-websocket 0.12 does."""

    def __init__(self, max_message_bytes: int, *, measures_bytes: bool) -> None:
        self.outcome = Outcome([], [], [], None)
        self._connection = Connection(CLIENT)
        self._max = max_message_bytes
        self._measures_bytes = measures_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def receive(self, data: bytes) -> None:
        if self.outcome.code is not None:
            return
        self._connection.receive_data(data)
        for event in self._connection.events():
            match event:
                case Ping():
                    self.outcome.pings.append(bytes(event.payload))
                case Pong():
                    self.outcome.pongs.append(bytes(event.payload))
                case CloseConnection():
                    self.outcome = self.outcome._replace(code=int(event.code))
                case TextMessage() | BytesMessage():
                    self._join(event)
            if self.outcome.code is not None:
                return

    def _join(self, event: TextMessage | BytesMessage) -> None:
        part = event.data.encode() if isinstance(event, TextMessage) else bytes(event.data)
        self._parts.append(part)
        self._size += len(part) if self._measures_bytes else len(event.data)
        if self._size > self._max:
            self.outcome = self.outcome._replace(code=1009)
        elif event.message_finished:
            self.outcome.messages.append(b"".join(self._parts))
            self._parts, self._size = [], 0


def read_with_wsproto(pieces: Iterable[bytes], max_message_bytes: int) -> Outcome:
    """Return what wsproto alone makes of the frames in `pieces`."""
    client = _Client(max_message_bytes, measures_bytes=True)
    for piece in pieces:
        client.receive(piece)
    return client.outcome


def read_with_splitter(pieces: Iterable[bytes], max_message_bytes: int) -> Outcome:
    """Return what splitter and wsproto together make of the frames in `pieces`."""
    splitter = FrameSplitter(max_message_bytes)
    assert splitter.feed(HANDSHAKE) == ([], HANDSHAKE)
    client = _Client(max_message_bytes, measures_bytes=False)
    messages: list[bytes] = []
    for piece in pieces:
        payloads, control = splitter.feed(piece)
        messages += payloads
        client.receive(control)
    assert client.outcome.messages == []  # data never reaches trio-websocket as a message
    return client.outcome._replace(messages=messages)


def cut(data: bytes, lengths: Iterable[int]) -> list[bytes]:
    """Return `data` in pieces of `lengths`, over and over; the last one is what is left."""
    pieces: list[bytes] = []
    start, steps = 0, list(lengths) or [len(data)]
    while start < len(data):
        step = max(1, steps[len(pieces) % len(steps)])
        pieces.append(data[start : start + step])
        start += step
    return pieces
