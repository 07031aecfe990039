"""A WebSocket of a session, from its connect to its goodbye.

It is a context manager, entered outside of the scope that ends the session: `open` and all that
uses the connection run inside of that scope, and when it is cancelled there is still time to send
a close frame.
"""

import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Never, Self

import trio
import trio_websocket

from trio_collector.errors import SessionEnded
from trio_collector.exchanges.adapter import Keepalive
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.feed.wire.failures import closed_session
from trio_collector.feed.wire.keepalive import run_keepalive, send_message
from trio_collector.feed.wire.transport import FrameStream, Read, open_websocket

CONNECT_S = 10.0  # TCP, TLS and the handshake together
CLOSE_S = 0.5  # our close frame is a courtesy

# A masked close frame with code 1000; the mask of zeros leaves the code readable.
CLOSE_FRAME = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


class WebSocket:
    """A connection to `url`, over the stream that `connect` returns.

    `on_read` is called with what each read brings, and `wait_room` awaited before the next one.
    """

    def __init__(
        self,
        url: str,
        connect: Callable[[str], Awaitable[trio.abc.Stream]],
        on_read: Callable[[Read], None],
        wait_room: Callable[[], Awaitable[None]],
        *,
        max_message_bytes: int,
        now_us: Callable[[], int],
    ) -> None:
        self.url = url
        self._connect = connect
        self._on_read = on_read
        self._wait_room = wait_room
        self._max_message_bytes = max_message_bytes
        self._now_us = now_us
        self._socket: trio.abc.Stream | None = None
        self._stream: FrameStream | None = None  # over the socket, after the handshake
        self._connection: trio_websocket.WebSocketConnection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _exc: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Send a close frame if that takes no time, and close the connection."""
        try:
            if self._stream is not None:
                gone = (trio.BrokenResourceError, trio.ClosedResourceError)
                with trio.move_on_after(CLOSE_S), contextlib.suppress(*gone):
                    await self._stream.send_all(CLOSE_FRAME)
        finally:
            if self._socket is not None:
                await trio.aclose_forcefully(self._socket)

    async def open(self, nursery: trio.Nursery) -> None:
        """Connect and shake hands, within one deadline; a task in `nursery` reads from then on.

        Raises SessionEnded, and what `open_websocket` raises.
        """
        try:
            with trio.fail_after(CONNECT_S):
                self._socket = await self._connect(self.url)
                self._connection, self._stream = await open_websocket(
                    nursery,
                    self._socket,
                    self.url,
                    self._on_read,
                    self._wait_room,
                    max_message_bytes=self._max_message_bytes,
                    now_us=self._now_us,
                )
        except trio.TooSlowError as exc:
            text = f"no WebSocket at {self.url} within {CONNECT_S:g} s"
            raise SessionEnded(EndReason.CONNECT_FAILED, text) from exc

    @property
    def latest_read(self) -> float | None:
        """When bytes came last, by trio's clock; None if it never was open."""
        return None if self._stream is None else self._stream.latest_read

    async def send(self, text: str) -> None:
        """Send a message; raises SessionEnded if it does not leave."""
        await send_message(self._opened, text)

    async def wait_closed(self) -> Never:
        """Wait for the end of the connection; raises SessionEnded with its reason."""
        try:
            while True:
                await self._opened.get_message()  # data frames never get this far
        except trio_websocket.ConnectionClosed as exc:
            raise closed_session(exc) from exc

    async def keep_alive(
        self,
        policy: Keepalive,
        latest_sign: Callable[[], float],
        on_sent: Callable[[], None],
        on_pong: Callable[[], None],
    ) -> None:
        """Ask for signs of life as `policy` says; see `run_keepalive`."""
        await run_keepalive(self._opened, policy, latest_sign, on_sent, on_pong)

    @property
    def _opened(self) -> trio_websocket.WebSocketConnection:
        assert self._connection is not None, "it has to be opened first"
        return self._connection
