"""The stream below trio-websocket, which hands data messages to the session, read by read.

    exchange ──▶ TCP ──▶ TLS ──▶ FrameStream ──control──▶ trio-websocket
                                      └──Read──▶ on_read, the session

trio-websocket reads a `FrameStream` as it would read the socket (its reader task is the one that
calls `receive_some`), and sees a connection on which only control frames come. The data messages of
one read of the socket are one `Read`, passed on by a plain call before anything else happens, so
that cancelling loses nothing that was read.

Before the next read `wait_room` is awaited: while the writer has no room the kernel's buffers fill,
and TCP slows the exchange down. Control bytes are passed on before that, so that a ping is answered
while rows wait.
"""

import urllib.parse
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import h11
import trio
import trio_websocket
import wsproto.utilities

from trio_collector import __version__
from trio_collector.errors import SessionEnded
from trio_collector.feed.wire.connect import DEFAULT_PORTS
from trio_collector.feed.wire.frames import FrameSplitter

# Splitting so much into 125-byte frames takes 0.35 ms (tests/bench/bench_frames.py): long enough
# for the wake-up before it not to matter, short enough for the loop. Over TLS a read ends with the
# record, at 16 KiB.
READ_BYTES = 262_144


# What h11, wsproto and trio-websocket raise for a response that is not WebSocket's; the last if its
# Connection, Sec-WebSocket-Extensions or -Protocol header is not ASCII.
_NOT_WEBSOCKET = (h11.ProtocolError, wsproto.utilities.ProtocolError, UnicodeError)
_REMOTE_FAULTS = (h11.RemoteProtocolError, wsproto.utilities.RemoteProtocolError)


class Read(NamedTuple):
    """The data messages that were complete with one read of the socket."""

    received_us: int  # our clock, right after the read
    frames: list[bytes]


class FrameStream(trio.abc.Stream):
    """A connected stream for trio-websocket, without its data messages.

    Owns `stream`. `latest_read` is the trio time at which bytes of any kind came last, and the time
    of construction before the first.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        on_read: Callable[[Read], None],
        wait_room: Callable[[], Awaitable[None]],
        *,
        max_message_bytes: int,
        now_us: Callable[[], int],
    ) -> None:
        self.latest_read = trio.current_time()
        self._stream = stream
        self._on_read = on_read
        self._wait_room = wait_room
        self._now_us = now_us
        self._splitter = FrameSplitter(max_message_bytes)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return control bytes, b"" at the end of the connection.

        `max_bytes` is ignored: returned are the control bytes of one read, and with an irregular
        message also what was held back of it. Raises BrokenResourceError if the connection broke,
        ClosedResourceError if it was closed here, and before the handshake is complete SessionEnded
        or ConnectionRejected. Cancelling leaves it usable.
        """
        while True:
            await self._wait_room()
            data = await self._read()
            received_us = self._now_us()
            if not data:
                return b""
            frames, control = self._splitter.feed(data)
            if frames:
                self._on_read(Read(received_us, frames))
            if control:
                return control

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`; raises as `receive_some` does."""
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            self._check_handshake()
            raise

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there may be room to send."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def _read(self) -> bytes | bytearray:
        """Return the next bytes of the connection; b"" at its end."""
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except trio.BrokenResourceError:
            self._check_handshake()
            raise
        if data:
            self.latest_read = trio.current_time()
        else:
            self._check_handshake()
        return data

    def _check_handshake(self) -> None:
        """Raise if the connection ended before the upgrade was granted.

        trio-websocket 0.12 would never wake the task that waits for the handshake, and would not
        report the status of a refusal whose body ends with the connection.
        """
        head = self._splitter.response_head
        if head and not self._splitter.is_open:
            raise _rejection(head)
        if not head:
            raise SessionEnded("stream_ended", "closed before the handshake was answered")


async def open_websocket(
    nursery: trio.Nursery,
    stream: trio.abc.Stream,
    url: str,
    on_read: Callable[[Read], None],
    wait_room: Callable[[], Awaitable[None]],
    *,
    max_message_bytes: int,
    now_us: Callable[[], int],
    extra_headers: Iterable[tuple[bytes, bytes]] = (),
) -> tuple[trio_websocket.WebSocketConnection, FrameStream]:
    """Shake hands over `stream`, and return the connection and the stream below it.

    The connection is read by a task in `nursery`. `get_message()` never returns a message; it raises
    ConnectionClosed with the code once the connection is closed, by either side or for a protocol
    error. Nothing is raised while the server sends nothing: the deadline is the caller's.

    Raises trio_websocket.ConnectionRejected for a status other than 101 (its `body` is None if it
    was cut short), SessionEnded `stream_ended` if the connection ends before the response, and
    `protocol_error` if the response is not that of a WebSocket server. `stream` belongs to the
    FrameStream; it is closed if this raises or is cancelled.
    """
    frame_stream = FrameStream(
        stream, on_read, wait_room, max_message_bytes=max_message_bytes, now_us=now_us
    )
    wrap = partial(
        trio_websocket.wrap_client_stream,
        stream=frame_stream,  # type: ignore[arg-type]  # any trio.abc.Stream, its docstring says
        host=_host_header(url),
        resource=_resource(url),
        extra_headers=[(b"User-Agent", f"trio_collector/{__version__}".encode()), *extra_headers],
        max_message_size=max_message_bytes,
        receive_buffer_size=READ_BYTES,
    )
    try:
        with _plain_failures():
            return await nursery.start(_run_websocket, wrap), frame_stream
    except BaseException:
        await trio.aclose_forcefully(frame_stream)
        raise


async def _run_websocket(
    wrap: Callable[[trio.Nursery], Awaitable[trio_websocket.WebSocketConnection]],
    task_status: trio.TaskStatus[trio_websocket.WebSocketConnection],
) -> None:
    """Run trio-websocket's reader in a nursery of its own.

    What the reader raises before the handshake is complete is raised where the task was started,
    and a Cancelled that it leaks (trio-websocket issue 184) ends nothing but this nursery.
    """
    async with trio.open_nursery() as nursery:
        task_status.started(await wrap(nursery))


@contextmanager
def _plain_failures() -> Iterator[None]:
    """Raise the reader's error as one of ours, without the group around it."""
    try:
        yield
    except ExceptionGroup as group:
        failure = group.exceptions[0]  # one task, one failure
        if not isinstance(failure, _NOT_WEBSOCKET):
            raise failure from None
        text = f"not a WebSocket server: {_first_fault(failure)}"
        raise SessionEnded("protocol_error", text) from failure


def _first_fault(failure: BaseException) -> BaseException:
    """Return what was wrong with the response; trio-websocket fails once more while it reports it."""
    fault = failure
    context = failure.__context__
    while context is not None:
        if isinstance(context, _REMOTE_FAULTS):
            fault = context
        context = context.__context__
    return fault


def _rejection(head: bytes) -> trio_websocket.ConnectionRejected:
    """Return the refusal that the head of an HTTP response means."""
    status, *fields = head.split(b"\r\n")
    headers = [field.split(b":", 1) for field in fields if b":" in field]
    return trio_websocket.ConnectionRejected(
        int(status.split()[1]),
        tuple((name.strip().lower(), value.strip()) for name, value in headers),
        None,
    )


def _host_header(url: str) -> str:
    """Return the host, with its port unless that is the scheme's own."""
    parts = urllib.parse.urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    if parts.port in (None, DEFAULT_PORTS[parts.scheme]):
        return host
    return f"{host}:{parts.port}"


def _resource(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
