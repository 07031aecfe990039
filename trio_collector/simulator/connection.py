"""One WebSocket client of a simulated venue, from the handshake's end to its own.

wsproto reads what the client sends; what goes back goes through the outbox. A dialect decides, this
carries out.
"""

import contextlib
from collections.abc import Callable

import trio
from wsproto.connection import Connection as WebSocket
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.frames import Frame, Opcode, close_frame
from trio_collector.simulator.outbox import Outbox, Stream

MAX_MESSAGE_BYTES = 1_048_576
CLOSE_GRACE_S = 1.0  # for the other side to answer a close frame and to go
RECEIVE_BYTES = 65_536


class Connection:
    """A client: what it says goes to `dialect`, what that answers to `outbox`."""

    def __init__(
        self, stream: Stream, dialect: Dialect, outbox: Outbox, now_ms: Callable[[], int]
    ) -> None:
        self.dialect = dialect
        self.outbox = outbox
        self._stream = stream
        self._now_ms = now_ms
        self._websocket = WebSocket(ConnectionType.SERVER)
        self._message = bytearray()

    def flush(self) -> None:
        """Put what the dialect has to say into the outbox."""
        self.outbox.put(self.dialect.flush(self._now_ms()))

    async def run(self, trailing: bytes) -> None:
        """Serve the client until either side ends it; `trailing` came with the handshake."""
        self._websocket.receive_data(trailing)
        with self.outbox.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send)
                await self._receive()
                self.outbox.scope.cancel()

    async def _send(self) -> None:
        await self.outbox.run()
        await trio.sleep(CLOSE_GRACE_S)
        self.outbox.scope.cancel()

    async def _receive(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while self._take_events():
                data = await self._stream.receive_some(RECEIVE_BYTES)
                if not data:
                    return
                self._websocket.receive_data(bytes(data))
            with trio.move_on_after(CLOSE_GRACE_S):
                await self.outbox.wait_empty()
                await self._discard()

    async def _discard(self) -> None:
        """Read on if the client has not taken its leave.

        Closing a socket with unread bytes resets it, and the client would lose our close frame.
        """
        if self._websocket.state is ConnectionState.OPEN:
            while await self._stream.receive_some(RECEIVE_BYTES):
                pass

    def _take_events(self) -> bool:
        """Act on what the client sent; return whether it may send more."""
        is_open = all(self._take(event) for event in self._websocket.events())
        self.flush()
        return is_open

    def _take(self, event: Event) -> bool:
        if isinstance(event, TextMessage):
            return self._collect(event.data.encode(), is_whole=event.message_finished)
        if isinstance(event, BytesMessage):
            return self._collect(bytes(event.data), is_whole=event.message_finished)
        if isinstance(event, Ping):
            self._reply(Frame(bytes(event.payload), opcode=Opcode.PONG))
            self.dialect.receive_control(Opcode.PING, bytes(event.payload), self._now_ms())
        elif isinstance(event, Pong):
            self.dialect.receive_control(Opcode.PONG, bytes(event.payload), self._now_ms())
        elif isinstance(event, CloseConnection):
            is_bare = event.code == CloseReason.NO_STATUS_RCVD
            self._reply(close_frame(CloseReason.NORMAL_CLOSURE if is_bare else event.code))
            return False
        return True

    def _reply(self, frame: Frame) -> None:
        """Send `frame` after what the dialect has answered so far."""
        self.flush()
        self.outbox.put([frame])

    def _collect(self, part: bytes, *, is_whole: bool) -> bool:
        self._message += part
        if len(self._message) > MAX_MESSAGE_BYTES:
            self._reply(close_frame(CloseReason.MESSAGE_TOO_BIG))
            return False
        if is_whole:
            message = bytes(self._message)
            self._message.clear()
            self.dialect.receive(message, self._now_ms())
        return True
