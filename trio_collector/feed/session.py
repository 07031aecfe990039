"""One life of a connection: connect, subscribe, receive, and one reason for its end.

    session nursery
      receive             rows to the writer, until all that was read is on its way
      transport scope     cancelled by whatever ends the session
        trio-websocket    handshake, control frames, close codes
        ask               subscribe requests, at the rate that the exchange allows
        keep alive        pings, as the adapter says
        watch             close frames · silence · acks · age · the wish to stop

Whatever ends a session calls `end` with its reason; the first one stands. That cancels the
transport scope, and no more is read. `receive` lives outside of it, so that every frame that was
read reaches the writer, also when the session is told to stop. It is also the one task that parses,
so rows are sent in the order in which their frames came. What they mean for the session is judged
in `standing`.

Two clocks run: any byte (the transport is alive) and data for each topic (the feed is alive);
heartbeats and pongs count for the first alone. A session ends when all of its topics are stale. A
single one that is silent among others is reported by name and left alone. While rows wait for the
writer nothing is read, and the clocks stand still: a slow disk is not the exchange's silence.
"""

import contextlib
import math
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

import msgspec
import trio
import trio_websocket

from trio_collector.budget import ByteBudget
from trio_collector.config import WebsocketSection
from trio_collector.errors import SessionEnded
from trio_collector.events import Batch, Topic
from trio_collector.exchanges.adapter import SubscribeRequest
from trio_collector.feed.connect import connect_stream
from trio_collector.feed.continuity import Continuity
from trio_collector.feed.ending import Ending
from trio_collector.feed.failure import closed_session, ending_of
from trio_collector.feed.keepalive import run_keepalive, send_message
from trio_collector.feed.plan import Connection
from trio_collector.feed.reading import FrameReader, Rows
from trio_collector.feed.sessionlog import SessionLog
from trio_collector.feed.standing import Standing
from trio_collector.feed.transport import FrameStream, Received, open_websocket
from trio_collector.rates import Throttle
from trio_collector.vitals import Vitals

CONNECT_S = 10.0  # TCP, TLS and the handshake together
CLOSE_S = 0.5  # our close frame is a courtesy
# Reads between the socket and the parser; the byte budget does not count them.
READS_WAITING = 16

# Leaving this long before the exchange's own limit keeps the choice of the moment ours; and
# sessions that were opened together must not all be replaced together.
AGE_MARGIN_S = 600.0
AGE_SPREAD = 0.1

# A masked close frame with code 1000; the mask of zeros leaves the code readable.
CLOSE_FRAME = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


class FeedContext(msgspec.Struct, frozen=True):
    """What all feeds of the process share."""

    websocket: WebsocketSection
    budget: ByteBudget
    ssl_context: ssl.SSLContext
    throttles: Mapping[str, Throttle]  # of connects, by exchange
    stop: trio.Event
    now_us: Callable[[], int]
    random: Callable[[], float]  # 0 <= x < 1
    vitals: Vitals = msgspec.field(default_factory=Vitals)
    connect: Callable[[str, ssl.SSLContext], Awaitable[trio.abc.Stream]] = connect_stream


class Session:
    """One session of `connection`; `run` lives it and says why it ended."""

    def __init__(
        self,
        connection: Connection,
        context: FeedContext,
        to_writer: trio.MemorySendChannel[Batch],
        continuity: Continuity,
        *,
        number: int,
        topics: list[Topic],
    ) -> None:
        self._adapter = connection.adapter
        self._context = context
        self._to_writer = to_writer
        self._reader = FrameReader(self._adapter, list(connection.topics), continuity)
        self._ledger = SessionLog(
            connection, topics, context.now_us, number=number, vitals=context.vitals
        )
        self._standing = Standing(connection, topics, self._ledger, trio.current_time())
        # Holds at most one request for each topic, and what the exchange wants to be sent back.
        self._to_ask, self._requests = trio.open_memory_channel[SubscribeRequest](math.inf)
        self._answered = trio.Event()
        self._ending: SessionEnded | None = None
        self._ended_us: int | None = None
        self._scope = trio.CancelScope()
        self._socket: trio.abc.Stream | None = None
        self._stream: FrameStream | None = None  # over the socket, once shaken hands
        self._unread: Received | None = None
        self._has_room = trio.Event()  # set unless rows wait for the writer
        self._has_room.set()
        self._latest_wait = -math.inf  # when rows had room again

    @property
    def refused(self) -> set[Topic]:
        """The topics that the exchange refused."""
        return self._standing.refused

    @property
    def carried_s(self) -> float:
        """How long the session carried data, from the first to the latest."""
        return self._standing.carried_s

    def end(self, ending: SessionEnded) -> None:
        """End the session; the first ending stands."""
        if self._ending is None:
            self._ending = ending
            self._ended_us = self._context.now_us()
        self._scope.cancel()

    async def run(self) -> SessionEnded:
        """Live the session; return why it ended.

        Cancelling closes the connection and loses what was read and not yet sent to the writer;
        `context.stop` ends a session without that.
        """
        frames_to, reads = trio.open_memory_channel[Received](READS_WAITING)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive, reads)
            async with frames_to:
                await self._guard(partial(self._use_transport, frames_to.clone()))
                await self._hand_over(frames_to)
        return await self._report_end()

    async def _guard(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run `task`; whatever it raises, bugs included, ends the session and nothing else.

        Cancelled, which may come in a group with what it made fail, goes on its way.
        """
        try:
            await task()
        except* Exception as failures:
            ending = ending_of(
                failures,
                now_s=self._context.now_us() / 1e6,
                alternative_url=self._adapter.alternative_url,
            )
            if ending.reason == Ending.BUG:
                self._ledger.log.exception("bug in a session")
            self.end(ending)

    async def _report_end(self) -> SessionEnded:
        ending = self._ending or SessionEnded(Ending.STREAM_ENDED)
        latest_us = None
        if self._stream is not None:
            silent_s = trio.current_time() - self._stream.latest_read
            latest_us = self._context.now_us() - round(silent_s * 1e6)
        self._ledger.ended(ending, self._standing.wanted, at_us=self._ended_us, latest_us=latest_us)
        await self._deliver(self._ledger.take())
        return ending

    # Inside of the transport scope.

    async def _use_transport(self, frames_to: trio.MemorySendChannel[Received]) -> None:
        """Connect and run the session's tasks until something ends it.

        Closes the connection and `frames_to`, whatever happens.
        """
        try:
            with frames_to, self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch_stop)
                    websocket, stream = await self._open(nursery, frames_to)
                    self._send_later(self._standing.start(trio.current_time()))
                    with self._ledger.connected(self._adapter.websocket_url()):
                        await self._run_tasks(websocket, stream)
        finally:
            await self._hang_up()

    async def _open(
        self, nursery: trio.Nursery, frames_to: trio.MemorySendChannel[Received]
    ) -> tuple[trio_websocket.WebSocketConnection, FrameStream]:
        """Connect and shake hands, within one deadline."""
        url = self._adapter.websocket_url()
        try:
            with trio.fail_after(CONNECT_S):
                self._socket = await self._context.connect(url, self._context.ssl_context)
                websocket, self._stream = await open_websocket(
                    nursery,
                    self._socket,
                    url,
                    frames_to,
                    max_message_bytes=self._context.websocket.max_message_bytes,
                    now_us=self._context.now_us,
                )
        except trio.TooSlowError as exc:
            text = f"no WebSocket at {url} within {CONNECT_S:g} s"
            raise SessionEnded(Ending.CONNECT_FAILED, text) from exc
        return websocket, self._stream

    async def _run_tasks(
        self, websocket: trio_websocket.WebSocketConnection, stream: FrameStream
    ) -> None:
        async with trio.open_nursery() as tasks:
            for task in (
                partial(self._watch_close, websocket),
                partial(self._ask, websocket),
                partial(self._keep_alive, websocket, stream),
                partial(self._watch_transport, stream),
                self._watch_data,
                self._watch_acks,
                self._watch_age,
            ):
                tasks.start_soon(self._guard, task)

    async def _hang_up(self) -> None:
        """Say goodbye if that takes no time, and close the connection."""
        try:
            if self._stream is not None:
                gone = (trio.BrokenResourceError, trio.ClosedResourceError)
                with trio.move_on_after(CLOSE_S), contextlib.suppress(*gone):
                    await self._stream.send_all(CLOSE_FRAME)
        finally:
            if self._socket is not None:
                await trio.aclose_forcefully(self._socket)

    # What is sent.

    def _send_later(self, requests: Iterable[SubscribeRequest]) -> None:
        for request in requests:
            self._to_ask.send_nowait(request)

    async def _ask(self, websocket: trio_websocket.WebSocketConnection) -> None:
        """Send the requests, at the rate that the exchange allows."""
        rate = self._adapter.limits.requests
        throttle = Throttle([rate] if rate else [])
        async for request in self._requests:
            while self._standing.must_wait(request):
                self._answered = trio.Event()
                await self._answered.wait()
            if self._standing.is_needed(request):
                await trio.sleep(throttle.reserve(trio.current_time()))
                self._standing.ask(request, trio.current_time())
                await send_message(websocket, request.text)
                self._standing.sent(request)

    async def _keep_alive(
        self, websocket: trio_websocket.WebSocketConnection, stream: FrameStream
    ) -> None:
        if self._adapter.keepalive is not None:
            await run_keepalive(
                websocket,
                self._adapter.keepalive,
                partial(self._latest_sign, stream),
                self._ledger.ping_sent,
                self._ledger.pong_received,
            )

    # What is watched.

    async def _watch_stop(self) -> None:
        await self._context.stop.wait()
        self.end(SessionEnded(Ending.STOPPED))

    async def _watch_close(self, websocket: trio_websocket.WebSocketConnection) -> None:
        """Wait for the WebSocket's end; data frames never get this far."""
        try:
            while True:
                await websocket.get_message()
        except trio_websocket.ConnectionClosed as exc:
            raise closed_session(exc) from exc

    async def _watch_transport(self, stream: FrameStream) -> None:
        limit_s = self._context.websocket.message_timeout_secs
        await self._wait_until(lambda: self._latest_sign(stream) + limit_s)
        self._ledger.timed_out()
        raise SessionEnded(Ending.DEAD_TIMEOUT, f"no byte for {limit_s:g} s")

    async def _watch_data(self) -> None:
        while True:
            await self._wait_until(self._standing.next_stale)
            self._standing.judge_silence(trio.current_time())
            self._heed()

    async def _watch_acks(self) -> None:
        while True:
            await self._wait_until(partial(self._standing.next_overdue, trio.current_time()))
            self._standing.judge_acks(trio.current_time())
            self._heed()

    async def _watch_age(self) -> None:
        limit_s = self._adapter.max_session_s
        if limit_s is None:
            return
        margin_s = min(AGE_MARGIN_S, limit_s / 2)
        planned_s = (limit_s - margin_s) * (1 - AGE_SPREAD * self._context.random())
        await trio.sleep(planned_s)
        text = f"after {planned_s:.0f} s, for the exchange ends a connection after {limit_s:g} s"
        raise SessionEnded(Ending.HANDOVER, text)

    async def _wait_until(self, due: Callable[[], float]) -> None:
        """Wait until `due()`, which moves on, has come and the session is not waiting itself."""
        while True:
            await trio.sleep_until(due())
            await self._has_room.wait()
            if trio.current_time() >= due():
                return

    def _latest_sign(self, stream: FrameStream) -> float:
        """Return when the exchange was last heard, or could not be heard for want of room."""
        if not self._has_room.is_set():
            return trio.current_time()
        return max(stream.latest_read, self._latest_wait)

    def _heed(self) -> None:
        """End the session if its standing says so."""
        if self._standing.ending is not None:
            self.end(self._standing.ending)

    # Outside of it.

    async def _hand_over(self, frames_to: trio.MemorySendChannel[Received]) -> None:
        """Give to `_receive` what was read and found no room."""
        if self._stream is not None:
            with contextlib.suppress(trio.BrokenResourceError):  # a bug has ended `_receive`
                for received in self._stream.take_undelivered():
                    await frames_to.send(received)

    async def _receive(self, reads: trio.MemoryReceiveChannel[Received]) -> None:
        """Send what was read to the writer, as rows, until nothing is left.

        After a bug the frames that were not read are kept as they came, for the next version.
        """
        async with reads:
            await self._guard(partial(self._read_all, reads))
            if self._unread is not None:
                await self._pass_on(self._reader.keep(*self._unread))
            async for received in reads:
                await self._pass_on(self._reader.keep(*received))

    async def _read_all(self, reads: trio.MemoryReceiveChannel[Received]) -> None:
        async for received in reads:
            self._unread = received
            rows = self._reader.read(*received)
            now = trio.current_time()
            self._send_later(self._standing.notice(rows, received.received_us, now))
            self._unread = None
            self._heed()
            self._answered.set()
            await self._pass_on(rows)

    async def _pass_on(self, rows: Rows) -> None:
        await self._deliver([*self._ledger.take(), *rows.batches])
        self._ledger.delivered(rows.batches)

    async def _deliver(self, batches: list[Batch]) -> None:
        """Send `batches` to the writer when there is room; until then the session's clocks rest."""
        started = trio.current_time()
        self._has_room = trio.Event()
        for batch in batches:
            await self._send(batch)
        self._latest_wait = trio.current_time()
        self._standing.pause(self._latest_wait - started)
        self._has_room.set()

    async def _send(self, batch: Batch) -> None:
        """Send `batch`, which the writer then gives back to the budget; nothing if cancelled."""
        await self._context.budget.acquire(batch.size_bytes)
        try:
            await self._to_writer.send(batch)
        except BaseException:
            self._context.budget.release(batch.size_bytes)
            raise
