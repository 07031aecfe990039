"""One WebSocket client of a simulated exchange, from the end of the handshake on.

wsproto reads what the client sends; answers go through the outbox. A dialect decides, this file
carries out; between the two, faults of the connection change what is sent.
"""

import contextlib

import trio
from wsproto.connection import Connection as WebSocket
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from trio_collector.simulator.clock import Clock
from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.faults.action import Action
from trio_collector.simulator.faults.connection_faults import ConnectionFaults
from trio_collector.simulator.net.connection_end import RECEIVE_BYTES, Stream
from trio_collector.simulator.net.frames import Frame, Opcode, close_frame
from trio_collector.simulator.net.outbox import Outbox
from trio_collector.simulator.record import ConnectionInfo

MAX_MESSAGE_BYTES = 1_048_576
CLOSE_GRACE_S = 1.0  # for the other side to answer a close frame and to go


class Connection:
    """A client: its messages go to `dialect`, the answers to `outbox`."""

    def __init__(
        self,
        stream: Stream,
        dialect: Dialect,
        outbox: Outbox,
        clock: Clock,
        info: ConnectionInfo,
    ) -> None:
        self.dialect = dialect
        self.outbox = outbox
        self.info = info
        self.faults: ConnectionFaults | None = None
        self._stream = stream
        self._clock = clock
        self._websocket = WebSocket(ConnectionType.SERVER)
        self._message = bytearray()

    def flush(self) -> None:
        """Put the frames of the dialect into the outbox."""
        now_ms = self._clock.now_ms()
        if self.faults is None:
            self.outbox.put(self.dialect.flush(now_ms))
            return
        now_s = self._clock.now_s()
        self.faults.tick(now_s)
        self.outbox.put_scripted(self.faults.apply(self.dialect.flush(now_ms), now_s))

    @property
    def is_late(self) -> bool:
        """Whether frames are held back until their time comes."""
        return self.faults is not None and self.faults.is_late

    def perform(self, action: Action) -> None:
        """Do `action` after what is queued; the dialect sends nothing more."""
        self.flush()
        self.dialect.stop()
        self.outbox.put_scripted([action])

    async def run(self, trailing: bytes) -> None:
        """Serve the client until either side ends it; `trailing` came with the handshake."""
        self._websocket.receive_data(trailing)
        self.flush()
        try:
            with self.outbox.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send)
                    await self._receive()
                    self.outbox.scope.cancel()
        finally:
            if self.faults is not None:
                self.outbox.give_up(self.faults.close())

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
        """Read on if the client has not closed the WebSocket.

        Closing a socket with unread bytes resets it, and the client would lose our close frame.
        """
        if self._websocket.state is ConnectionState.OPEN:
            while await self._stream.receive_some(RECEIVE_BYTES):
                pass

    def _take_events(self) -> bool:
        """Action on what the client sent; return whether it may send more."""
        is_open = all(self._take(event) for event in self._websocket.events())
        self.flush()
        return is_open

    def _take(self, event: Event) -> bool:
        if isinstance(event, TextMessage):
            return self._collect(event.data.encode(), is_whole=event.message_finished)
        if isinstance(event, BytesMessage):
            return self._collect(bytes(event.data), is_whole=event.message_finished)
        if isinstance(event, Ping):
            if not self.dialect.behaviour.ignores_ping_frames:
                self._reply(Frame(bytes(event.payload), opcode=Opcode.PONG))
            self.dialect.receive_control(Opcode.PING, bytes(event.payload), self._clock.now_ms())
        elif isinstance(event, Pong):
            self.dialect.receive_control(Opcode.PONG, bytes(event.payload), self._clock.now_ms())
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
            self.dialect.receive(message, self._clock.now_ms())
        return True
