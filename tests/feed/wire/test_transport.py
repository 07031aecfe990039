"""Data leaves the stream sideways; everything else reaches trio-websocket, and in time."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio_websocket
from trio.testing import wait_all_tasks_blocked

from tests.support.frames import HANDSHAKE, server_frame
from trio_collector import __version__
from trio_collector.errors import SessionEnded
from trio_collector.feed.wire.connect import connect_stream
from trio_collector.feed.wire.transport import (
    FrameStream,
    Read,
    open_websocket,
)

Serve = Callable[[trio.abc.Stream], Awaitable[None]]

LIMIT = 1 << 20
PING, PONG, CLOSE = 9, 10, 8


class Ticks:
    """A wall clock that goes on by one microsecond at each look."""

    def __init__(self) -> None:
        self.us = 0

    def __call__(self) -> int:
        self.us += 1
        return self.us


class Consumer:
    """Takes what is read, and lets the stream read on while it has room for it."""

    def __init__(self, room: int) -> None:
        self.reads: list[Read] = []
        self._room = room
        self._moved = trio.Event()

    def take(self, read: Read) -> None:
        self.reads.append(read)
        self._move()

    async def wait_room(self) -> None:
        while len(self.reads) > self._room:
            await self._moved.wait()

    async def wait_read(self) -> None:
        """Wait until there is a read."""
        while not self.reads:
            await self._moved.wait()

    def frames(self) -> list[bytes]:
        """Return the frames that were read since the last call."""
        reads, self.reads = self.reads, []
        self._move()
        return [frame for read in reads for frame in read.frames]

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()


class Wire:
    """The exchange's end of a memory stream, and the collector's FrameStream at the other."""

    def __init__(self, room: int) -> None:
        self.ours, self.theirs = trio.testing.memory_stream_pair()
        self.consumer = Consumer(room)
        self.stream = FrameStream(
            self.ours,
            self.consumer.take,
            self.consumer.wait_room,
            max_message_bytes=LIMIT,
            now_us=Ticks(),
        )
        self.send_all = self.theirs.send_all


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A connection with its handshake done, that reads on until two reads wait."""
    wire = Wire(1)
    await wire.send_all(HANDSHAKE)
    assert await wire.stream.receive_some() == HANDSHAKE
    yield wire
    await wire.stream.aclose()


# FrameStream alone, over memory.


async def test_one_read_is_one_batch(wire: Wire) -> None:
    """Frames that came with one read share the time that was taken right after it."""
    ping = server_frame(b"", PING)
    await wire.send_all(server_frame(b"a") + server_frame(b"b") + ping)
    assert await wire.stream.receive_some() == ping
    assert wire.consumer.reads == [Read(2, [b"a", b"b"])]


async def test_reading_goes_on_without_control(wire: Wire) -> None:
    """A call returns when there is something for trio-websocket, and not before."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.stream.receive_some)
        await wire.send_all(server_frame(b"a"))
        await wire.consumer.wait_read()
        assert wire.consumer.frames() == [b"a"]
        await wire.send_all(server_frame(b"b")[:2])
        await wire.send_all(server_frame(b"b")[2:])
        await wire.consumer.wait_read()
        assert wire.consumer.frames() == [b"b"]
        nursery.cancel_scope.cancel()


async def test_control_does_not_wait_for_room(wire: Wire) -> None:
    """Where there is no room left a ping is handed on at once, and nothing more is read."""
    ping = server_frame(b"x", PING)
    await wire.send_all(server_frame(b"a") + ping)
    assert await wire.stream.receive_some() == ping
    await wire.send_all(server_frame(b"b") + ping)
    assert await wire.stream.receive_some() == ping
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.stream.receive_some)
        await wire.send_all(server_frame(b"c"))
        await wait_all_tasks_blocked()
        assert wire.consumer.frames() == [b"a", b"b"]
        await wire.consumer.wait_read()
        assert wire.consumer.frames() == [b"c"]
        nursery.cancel_scope.cancel()


async def test_without_room_nothing_is_read(wire: Wire) -> None:
    """At most one read more than there is room for is taken; the rest stays with the kernel."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.stream.receive_some)
        for payload in (b"a", b"b", b"c", b"d"):
            await wire.send_all(server_frame(payload))
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [read.frames for read in wire.consumer.reads] == [[b"a"], [b"b"]]


async def test_the_end_comes_behind_the_data(wire: Wire) -> None:
    """At EOF the consumer has all that came whole before it."""
    await wire.send_all(server_frame(b"a") + server_frame(b"", PING))
    await wire.stream.receive_some()
    await wire.send_all(server_frame(b"b") + server_frame(b"unfinished")[:-1])
    await wire.theirs.send_stream.aclose()
    got = wire.consumer.frames()
    assert await wire.stream.receive_some() == b""
    assert got + wire.consumer.frames() == [b"a", b"b"]
    assert await wire.stream.receive_some() == b""


async def test_a_broken_connection_ends_behind_the_data(wire: Wire) -> None:
    """A reset is an error to trio-websocket; the consumer has what came before it."""

    async def reset() -> None:
        raise trio.BrokenResourceError

    await wire.send_all(server_frame(b"a") + server_frame(b"", PING))
    await wire.stream.receive_some()
    wire.ours.receive_stream.receive_some_hook = reset
    with pytest.raises(trio.BrokenResourceError):
        await wire.stream.receive_some()
    assert wire.consumer.frames() == [b"a"]


async def test_cancelling_loses_nothing_that_was_read(wire: Wire) -> None:
    """Wherever a call is cancelled, each frame that was read is with the consumer, in its order."""
    sent = [str(number).encode() for number in range(50)]
    got: list[bytes] = []
    for number, payload in enumerate(sent):
        await wire.send_all(server_frame(payload))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wire.stream.receive_some)
                await wait_all_tasks_blocked()
                scope.cancel()
        if number % 3 == 0:
            got += wire.consumer.frames()
    got += wire.consumer.frames()
    with trio.move_on_after(0):
        await wire.stream.receive_some()
    assert got + wire.consumer.frames() == sent


async def test_closing_ends_a_call_that_waits(wire: Wire) -> None:
    """`aclose` ends a waiting call and both sides."""
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await wire.stream.receive_some()

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        await wire.stream.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await wire.send_all(b"x")


async def test_any_byte_is_a_sign_of_life(
    wire: Wire, autojump_clock: trio.testing.MockClock
) -> None:
    """`latest_read` counts control frames and parts of frames as well."""
    for number, sent in enumerate((server_frame(b"", PONG), server_frame(b"abc")[:3])):
        await trio.sleep(10)
        await wire.send_all(sent)
        with trio.move_on_after(5):
            await wire.stream.receive_some()
        assert wire.stream.latest_read == pytest.approx(trio.current_time() - 5 * number)


# With trio-websocket, over real sockets.


class Client:
    """What a session has of its connection."""

    def __init__(
        self,
        websocket: trio_websocket.WebSocketConnection,
        stream: FrameStream,
        consumer: Consumer,
    ) -> None:
        self.websocket = websocket
        self.stream = stream
        self._consumer = consumer

    async def next_frames(self, count: int) -> list[bytes]:
        frames: list[bytes] = []
        while len(frames) < count:
            await self._consumer.wait_read()
            frames += self._consumer.frames()
        return frames

    async def close_reason(self) -> trio_websocket.CloseReason:
        """Return why the connection was closed; no message comes before that."""
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await self.websocket.get_message()
        assert closed.value.reason is not None
        return closed.value.reason

    def rest(self) -> list[bytes]:
        return self._consumer.frames()


@asynccontextmanager
async def _listening(serve: Serve) -> AsyncIterator[str]:
    """Serve TCP connections on a port of the system's choice; gives its ws URL."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/feed?x=1"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _connected(serve: Serve, *, room: int = 16, limit: int = LIMIT) -> AsyncIterator[Client]:
    with trio.fail_after(10):
        async with _listening(serve) as url, trio.open_nursery() as nursery:
            stream = await connect_stream(url, ssl.create_default_context())
            consumer = Consumer(room)
            websocket, frame_stream = await open_websocket(
                nursery,
                stream,
                url,
                consumer.take,
                consumer.wait_room,
                max_message_bytes=limit,
                now_us=Ticks(),
            )
            try:
                yield Client(websocket, frame_stream, consumer)
            finally:
                nursery.cancel_scope.cancel()
                await trio.aclose_forcefully(frame_stream)


class FakeExchange:
    """A trio-websocket server that accepts, then runs `script` and keeps what comes back.

    `script` gets the raw stream too, for frames that no library would send.
    """

    def __init__(
        self,
        script: Callable[[trio_websocket.WebSocketConnection, trio.abc.Stream], Awaitable[None]],
    ) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.path = ""
        self.closed: trio_websocket.CloseReason | None = None
        self.ended = trio.Event()
        self._script = script

    async def __call__(self, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            self.headers = {name.lower(): value for name, value in request.headers}
            self.path = request.path
            websocket = await request.accept()
            await self._script(websocket, stream)
            try:
                await websocket.get_message()
            except trio_websocket.ConnectionClosed as exc:
                self.closed = exc.reason
            self.ended.set()
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(stream)


async def test_messages_and_pings_of_a_real_server() -> None:
    """Text and binary messages arrive as bytes, and pings between them are answered."""

    async def script(websocket: trio_websocket.WebSocketConnection, _: trio.abc.Stream) -> None:
        for number in range(100):
            await websocket.send_message(f"text {number}")
            await websocket.ping()
            await websocket.send_message(b"binary %d" % number)
        await websocket.aclose(1001, "bye")

    async with _connected(FakeExchange(script), room=200) as client:
        reason = await client.close_reason()
        frames = client.rest()
    assert (reason.code, reason.reason) == (1001, "bye")
    assert frames == [f"{kind} {n}".encode() for n in range(100) for kind in ("text", "binary")]


async def test_a_ping_is_answered_while_there_is_no_room() -> None:
    """A ping behind data that leaves no room gets its pong without anyone taking data."""
    answered = trio.Event()

    async def script(websocket: trio_websocket.WebSocketConnection, _: trio.abc.Stream) -> None:
        await websocket.send_message("data")
        await websocket.ping()
        answered.set()

    async with _connected(FakeExchange(script), room=1) as client:
        await answered.wait()
        assert await client.next_frames(1) == [b"data"]


async def test_what_the_client_sends_arrives() -> None:
    """Our messages and pings take the usual way, and our pings find their pongs."""
    got = []

    async def script(websocket: trio_websocket.WebSocketConnection, _: trio.abc.Stream) -> None:
        got.append(await websocket.get_message())

    async with _connected(FakeExchange(script)) as client:
        await client.websocket.send_message("subscribe")
        await client.websocket.ping()
    assert got == ["subscribe"]


async def test_the_request_names_the_collector() -> None:
    """The handshake has path, query, host and User-Agent, and no Origin: Upbit penalises one."""

    async def script(websocket: trio_websocket.WebSocketConnection, _: trio.abc.Stream) -> None:
        await websocket.send_message("hello")

    exchange = FakeExchange(script)
    async with _connected(exchange) as client:
        assert await client.next_frames(1) == [b"hello"]
        assert client.websocket.path == exchange.path == "/feed?x=1"
    assert exchange.headers[b"user-agent"] == f"trio_collector/{__version__}".encode()
    assert b"origin" not in exchange.headers


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ([(b"\xff\xfe", {})], 1007),
        ([(b"a", {"is_final": False}), (b"\xff", {"opcode": 0})], 1007),
        ([(b"x" * 1001, {})], 1009),
        ([("€".encode() * 400, {})], 1009),
        ([(b"x" * 600, {"is_final": False}), (b"x" * 600, {"opcode": 0})], 1009),
        ([(b"x", {"rsv": 4})], 1002),
        ([(b"x", {"is_masked": True})], 1002),
        ([(b"x", {"opcode": 0})], 1002),
        ([(b"a", {"is_final": False}), (b"x", {"opcode": 1})], 1002),
        ([(b"x", {"length_form": 126})], 1002),
        ([(b"", {"opcode": PING, "is_final": False})], 1002),
        ([(b"\x0f\xa0bye", {"opcode": CLOSE})], 4000),
    ],
)
async def test_the_code_of_an_end(faults: list[tuple[bytes, dict[str, Any]]], code: int) -> None:
    """A fault ends the connection with its code, and the messages before it arrive."""

    async def script(_: trio_websocket.WebSocketConnection, stream: trio.abc.Stream) -> None:
        sound = server_frame(b"a" * 1000)
        await stream.send_all(sound + b"".join(server_frame(p, **odd) for p, odd in faults))

    async with _connected(FakeExchange(script), limit=1000) as client:
        assert (await client.close_reason()).code == code
        assert await client.next_frames(1) == [b"a" * 1000]


async def test_the_server_is_told_of_an_oversize_message() -> None:
    """It gets a close frame with 1009 and the true limit."""

    async def script(_: trio_websocket.WebSocketConnection, stream: trio.abc.Stream) -> None:
        await stream.send_all(server_frame(b"x" * 2000))

    exchange = FakeExchange(script)
    async with _connected(exchange, limit=1000) as client:
        await client.close_reason()
        await exchange.ended.wait()
    assert exchange.closed is not None
    assert exchange.closed.code == 1009
    assert exchange.closed.reason == "Exceeded maximum message size: 1000 bytes"


async def test_a_server_that_drips() -> None:
    """A connection that comes byte by byte gives the same messages."""

    async def script(_: trio_websocket.WebSocketConnection, stream: trio.abc.Stream) -> None:
        parts = (
            server_frame(b"fr", is_final=False),
            server_frame(b"!", PING),
            server_frame(b"ag", 0),
        )
        for byte in b"".join((server_frame(b"whole"), *parts, server_frame(b"z" * 200))):
            await stream.send_all(bytes([byte]))

    async with _connected(FakeExchange(script)) as client:
        assert await client.next_frames(3) == [b"whole", b"frag", b"z" * 200]


async def test_a_connection_that_breaks_is_1006() -> None:
    """EOF without a close frame: what came whole arrives, what did not does not."""

    async def script(_: trio_websocket.WebSocketConnection, stream: trio.abc.Stream) -> None:
        await stream.send_all(server_frame(b"whole") + server_frame(b"half")[:-2])
        await stream.aclose()

    async with _connected(FakeExchange(script)) as client:
        assert (await client.close_reason()).code == 1006
        assert client.rest() == [b"whole"]


# Handshakes that fail.


async def _shake_hands(answer: bytes, *, stays: bool = False) -> None:
    """Open a WebSocket at a server that gives `answer`, and then closes or `stays`."""

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)
        if stays:
            await trio.sleep_forever()

    async with _connected(serve):
        raise AssertionError("no handshake was expected")


def _only(group: BaseException) -> BaseException:
    """Return what the nurseries of the test wrap."""
    while isinstance(group, BaseExceptionGroup):
        (group,) = group.exceptions
    return group


@contextmanager
def _failing() -> Iterator[list[BaseException]]:
    """Collect the one error that a block raises."""
    errors: list[BaseException] = []
    try:
        yield errors
    except (SessionEnded, trio_websocket.HandshakeError, ExceptionGroup) as exc:
        errors.append(_only(exc))
    assert errors


REFUSAL = b"HTTP/1.1 451 Unavailable\r\nRetry-After: 7\r\n"


@pytest.mark.parametrize(
    ("answer", "body", "stays"),
    [
        (REFUSAL + b"Content-Length: 4\r\n\r\nlaws", b"laws", True),
        (REFUSAL + b"Content-Length: 4\r\n\r\nla", None, False),
        (REFUSAL + b"\r\nlaws", None, False),
    ],
)
async def test_a_refusal_tells_its_status(answer: bytes, body: bytes | None, stays: bool) -> None:
    """Status and headers of a refusal reach the caller, also where its body ends with the line."""
    with _failing() as errors:
        await _shake_hands(answer, stays=stays)
    (refusal,) = errors
    assert isinstance(refusal, trio_websocket.ConnectionRejected)
    assert refusal.status_code == 451
    assert dict(refusal.headers or ())[b"retry-after"] == b"7"
    assert refusal.body == body


@pytest.mark.parametrize(
    ("answer", "reason", "text"),
    [
        (b"", "stream_ended", "closed before the handshake was answered"),
        (b"HTTP/1.1 101 Swi", "stream_ended", "closed before the handshake was answered"),
        (b"SSH-2.0\r\n\r\n", "protocol_error", "illegal status line"),
        (b"HTTP/1.1 101 X\r\n\r\n", "protocol_error", "Missing header, 'Connection: Upgrade'"),
        (b"HTTP/1.1 101 X\r\nConnection: \xff\r\n\r\n", "protocol_error", "can't decode"),
    ],
)
async def test_an_answer_that_is_none(answer: bytes, reason: str, text: str) -> None:
    """A server that does not speak WebSocket ends the session at once, in words."""
    with _failing() as errors:
        await _shake_hands(answer)
    (ending,) = errors
    assert isinstance(ending, SessionEnded)
    assert ending.reason == reason
    assert text in ending.detail


async def test_a_cancelled_handshake_closes_its_ends() -> None:
    """With a silent server the deadline is the caller's, and it leaves nothing open."""
    ours, theirs = trio.testing.memory_stream_pair()
    consumer = Consumer(1)

    async def cancel_once_asked(scope: trio.CancelScope) -> None:
        await theirs.receive_some()
        await wait_all_tasks_blocked()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_once_asked, scope)
            await open_websocket(
                nursery,
                ours,
                "ws://x/",
                consumer.take,
                consumer.wait_room,
                max_message_bytes=LIMIT,
                now_us=Ticks(),
            )
        assert scope.cancelled_caught
    assert consumer.reads == []
    with pytest.raises(trio.BrokenResourceError):
        await theirs.send_all(b"x")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("wss://h.example/ws", b"h.example"),
        ("wss://h.example:443", b"h.example"),
        ("wss://h.example:9443/ws?a=b", b"h.example:9443"),
        ("ws://[::1]:8080/", b"[::1]:8080"),
    ],
)
async def test_the_host_header(url: str, host: bytes) -> None:
    """The port is named unless it is the scheme's own; IPv6 has its brackets."""
    ours, theirs = trio.testing.memory_stream_pair()
    consumer = Consumer(1)
    async with trio.open_nursery() as nursery:
        shake = partial(open_websocket, max_message_bytes=LIMIT, now_us=Ticks())
        nursery.start_soon(shake, nursery, ours, url, consumer.take, consumer.wait_room)
        request = bytes(await theirs.receive_some())
        nursery.cancel_scope.cancel()
    assert b"\r\nHost: " + host + b"\r\n" in request
