"""Frames as a server sends them, and what wsproto makes of a connection's bytes.

`read_with_wsproto` is the reference: everything goes through wsproto, and parts of messages are
joined and measured as trio-websocket does. `read_with_splitter` is the collector's way: the splitter
first, wsproto for what it leaves. `tests/fuzz/fuzz_frames.py` runs this file as well.

A `ScriptedAdapter` is the exchange of tests that are about sessions and not about frames.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import pytest
from wsproto.connection import CLIENT, Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from trio_collector import events
from trio_collector.errors import UnreadableFrame
from trio_collector.events import DataType, FeedType, Topic
from trio_collector.exchanges.adapter import (
    Keepalive,
    Limits,
    SnapshotRequest,
    SubscribeRequest,
    Subscription,
    topic_of,
)
from trio_collector.feed.planning.connections import ConnectionPlan
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


@pytest.fixture(scope="session")
def handshake() -> bytes:
    return HANDSHAKE


@pytest.fixture(scope="session", name="server_frame")
def server_frame_() -> Callable[..., bytes]:
    return server_frame


@pytest.fixture(scope="session")
def wsproto_outcome() -> Callable[[Iterable[bytes], int], Outcome]:
    return read_with_wsproto


@pytest.fixture(scope="session")
def splitter_outcome() -> Callable[[Iterable[bytes], int], Outcome]:
    return read_with_splitter


@pytest.fixture(scope="session", name="cut")
def cut_() -> Callable[[bytes, Iterable[int]], list[bytes]]:
    return cut


class ScriptedAdapter:
    """An exchange whose messages are words, so that a test says what it means.

    A frame holds one thing or several, with "; " between them:

        trade btc 5          an event with id 5, which follows on 4
        reset trade btc 5    the same, which starts the stream afresh
        span trade btc 2 5   one of the ids 2 to 5
        ack 1 · ack trade btc            by request, or by topic
        no 1 why · no - why · no trade btc why · fell trade btc why
        pong · beat · odd KIND · bye WHY · echo TEXT · seq 7
        bug                  the adapter fails as it must not

    Everything else is unreadable. A request reads `sub 1 trade btc, trade eth`.
    """

    name = "scripted"
    limits = Limits(connects=(), topics_per_connection=100)
    keepalive: Keepalive | None = None
    contiguous_ids: frozenset[DataType] = frozenset({DataType.TRADE})
    sends_acks = True
    max_session_s: float | None = None
    fallback_url: str | None = None
    global_ids: frozenset[DataType] = frozenset({DataType.TRADE})
    has_incremental_books = False
    known_fields: frozenset[str] = frozenset()
    has_unsubscribe = False
    rest_url: str | None = None
    topics_per_request = 10
    has_ids = True

    def __init__(self, **traits: Any) -> None:
        for name, trait in traits.items():
            setattr(self, name, trait)

    def normalize_symbol(self, symbol: str) -> str:
        return symbol.lower()

    def websocket_url(self, line: int = 0) -> str:
        return "ws://exchange.test/feed" if line == 0 else "ws://second.test/feed"

    def build_subscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        starts = range(0, len(subscriptions), self.topics_per_request)
        return [
            self._request(str(number), subscriptions[start : start + self.topics_per_request])
            for number, start in enumerate(starts, first_id)
        ]

    def _request(self, number: str, subscriptions: Sequence[Subscription]) -> SubscribeRequest:
        topics = tuple(topic_of(self, each) for each in subscriptions)
        names = ", ".join(f"{topic.data_type} {topic.symbol}" for topic in topics)
        request_id = number if self.has_ids else None
        return SubscribeRequest(request_id, f"sub {request_id or '-'} {names}", topics)

    def build_unsubscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        if not self.has_unsubscribe:
            return []
        request = self._request(str(first_id), subscriptions)
        return [request._replace(text=f"un{request.text}", topics=())]

    def snapshot_request(self, symbol: str) -> SnapshotRequest | None:
        return SnapshotRequest(f"{self.rest_url}/{symbol}", 1) if self.rest_url else None

    def parse_snapshot(self, symbol: str, body: bytes) -> events.Event:
        try:
            (event,) = self.parse_message(body)
        except ValueError as exc:
            raise UnreadableFrame(self.name, str(exc), body) from exc
        assert isinstance(event, events.Event)
        return event

    def parse_message(self, frame: bytes) -> events.Parsed:
        return [
            self._parse(part.split(), frame) for part in frame.decode(errors="replace").split("; ")
        ]

    def _parse(self, words: list[str], frame: bytes) -> events.Event | events.Control:
        match words:
            case ["trade" | "orderbook" as kind, symbol, number]:
                last_id = int(number)
                return events.Event(symbol, DataType(kind), number, None, last_id - 1, last_id)
            case ["span", "trade" | "orderbook" as kind, symbol, first, number]:
                return events.Event(
                    symbol, DataType(kind), number, None, int(first) - 1, int(number)
                )
            case ["reset", "trade" | "orderbook" as kind, symbol, number]:
                last_id = int(number)
                return events.Event(
                    symbol, DataType(kind), number, None, None, last_id, is_reset=True
                )
            case ["ack", "trade" | "orderbook" as kind, symbol]:
                return events.Ack(topics=(Topic(symbol, DataType(kind)),))
            case ["ack", request_id]:
                return events.Ack(request_id)
            case ["no" | "fell" as verb, "trade" | "orderbook" as kind, symbol, *why]:
                topics = (Topic(symbol, DataType(kind)),)
                is_whole = verb == "fell"
                return events.Rejection(" ".join(why), topics=topics, is_whole_request=is_whole)
            case ["no", request_id, *why]:
                return events.Rejection(" ".join(why), None if request_id == "-" else request_id)
            case ["pong"]:
                return events.Pong()
            case ["beat"]:
                return events.Heartbeat()
            case ["odd", kind]:
                return events.UnknownMessage(kind)
            case ["bye", *why]:
                return events.GoingAway(" ".join(why))
            case ["echo", text]:
                return events.Echo(text)
            case ["seq", number]:
                return events.ConnectionSequence(int(number))
            case ["bug"]:
                raise KeyError("a bug in the adapter")
        raise UnreadableFrame(self.name, "not a word", frame)


@pytest.fixture(scope="session")
def make_connection() -> Callable[..., ConnectionPlan]:
    """Make a connection to a scripted exchange: `make_connection("trade btc", sends_acks=False)`."""

    def make(*topics: str, data_timeout_s: float = 90.0, **traits: Any) -> ConnectionPlan:
        feeds = {"trade": FeedType.TRADES, "orderbook": FeedType.ORDERBOOK}
        named = [topic.split() for topic in topics or ("trade btc",)]
        subscriptions = tuple(Subscription(symbol, feeds[kind]) for kind, symbol in named)
        return ConnectionPlan("feed", ScriptedAdapter(**traits), subscriptions, data_timeout_s)

    return make
