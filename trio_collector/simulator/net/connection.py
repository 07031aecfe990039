"""One WebSocket client of a simulated venue, from the handshake's end to its own.

wsproto reads what the client sends; what goes back goes through the outbox. A dialect decides, this
carries out; between the two, a course may have faults for the connection.
"""

import contextlib

import trio
from wsproto.connection import Connection as WebSocket
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from trio_collector.simulator.clock import Clock
from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.faults.act import Act
from trio_collector.simulator.faults.course import Course
from trio_collector.simulator.net.connection_end import RECEIVE_BYTES, Stream
from trio_collector.simulator.net.frames import Frame, Opcode, close_frame
from trio_collector.simulator.net.outbox import Outbox
from trio_collector.simulator.record import Visit

MAX_MESSAGE_BYTES = 1_048_576
CLOSE_GRACE_S = 1.0  # for the other side to answer a close frame and to go


class Connection:
    """A client: what it says goes to `dialect`, what that answers to `outbox`."""

    def __init__(
        self,
        stream: Stream,
        dialect: Dialect,
        outbox: Outbox,
        clock: Clock,
        visit: Visit,
    ) -> None:
        self.dialect = dialect
        self.outbox = outbox
        self.visit = visit
        self.course: Course | None = None
        self._stream = stream
        self._clock = clock
        self._websocket = WebSocket(ConnectionType.SERVER)
        self._message = bytearray()

    def flush(self) -> None:
        """Put what the dialect has to say into the outbox."""
        now_ms = self._clock.now_ms()
        if self.course is None:
            self.outbox.put(self.dialect.flush(now_ms))
            return
        now_s = self._clock.now_s()
        self.course.begin(now_s)
        self.outbox.put_scripted(self.course.bend(self.dialect.flush(now_ms), now_s))

    @property
    def is_late(self) -> bool:
        """Whether something is held back that time alone will send."""
        return self.course is not None and self.course.is_late

    def befall(self, act: Act) -> None:
        """Let `act` happen to the connection, after what is on its way."""
        self.flush()
        self.dialect.depart()
        self.outbox.put_scripted([act])

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
            if self.course is not None:
                self.outbox.give_up(self.course.leave())

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
            if not self.dialect.manners.ignores_ping_frames:
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
