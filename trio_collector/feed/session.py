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
so rows are sent in the order in which their frames came.

Two clocks run: any byte (the transport is alive) and data for each topic (the feed is alive);
heartbeats and pongs count for the first alone. A session ends when all of its topics are stale. A
single one that is silent among others is reported by name and left alone.
"""

import contextlib
import math
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial

import msgspec
import trio
import trio_websocket
from prometheus_client import Gauge

from trio_collector import metrics
from trio_collector.budget import ByteBudget
from trio_collector.config import WebsocketSection
from trio_collector.errors import SessionEnded
from trio_collector.events import (
    Ack,
    Batch,
    Control,
    DataType,
    Foreign,
    Notice,
    Pong,
    Rejection,
    Topic,
)
from trio_collector.exchanges.adapter import SubscribeRequest
from trio_collector.feed.breaker import Breaker
from trio_collector.feed.continuity import Continuity
from trio_collector.feed.ending import Ending
from trio_collector.feed.failure import closed_session, ending_of
from trio_collector.feed.keepalive import run_keepalive, send_message
from trio_collector.feed.plan import Connection
from trio_collector.feed.reading import FrameReader, Rows
from trio_collector.feed.sessionlog import SessionLog
from trio_collector.feed.silence import Silence
from trio_collector.feed.subscribing import Subscribing
from trio_collector.feed.transport import FrameStream, Received, connect_stream, open_websocket
from trio_collector.ledger import LedgerEvent
from trio_collector.rates import Throttle

CONNECT_S = 10.0  # TCP, TLS and the handshake together
ACK_S = 10.0  # the slowest venue acks within a second
CLOSE_S = 0.5  # our close frame is a courtesy
READS_WAITING = 16  # reads of at most 256 KiB between the socket and the parser

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
        self.rows = 0
        self.live_since: float | None = None  # trio time of the first data
        self._connection = connection
        self._adapter = connection.adapter
        self._context = context
        self._to_writer = to_writer
        self._topics = topics
        self._markets = sorted({(self._adapter.name, topic.symbol) for topic in topics})
        self._reader = FrameReader(self._adapter, list(connection.topics), continuity)
        self._subscribing = Subscribing(sends_acks=self._adapter.sends_acks)
        self._silence = Silence(topics, connection.data_timeout_s, trio.current_time())
        self._breaker = Breaker()
        self._ledger = SessionLog(connection, number, context.now_us)
        self._live: set[Topic] = set()
        self._kinds: set[str] = set()
        self._request_id = 1
        # Holds at most one request for each topic.
        self._to_ask, self._requests = trio.open_memory_channel[SubscribeRequest](math.inf)
        self._ending: SessionEnded | None = None
        self._scope = trio.CancelScope()
        self._socket: trio.abc.Stream | None = None
        self._stream: FrameStream | None = None  # over the socket, once shaken hands

    @property
    def refused(self) -> set[Topic]:
        """The topics that the exchange refused."""
        return self._subscribing.refused

    def end(self, ending: SessionEnded) -> None:
        """End the session; the first ending stands."""
        if self._ending is None:
            self._ending = ending
        self._scope.cancel()

    async def run(self) -> SessionEnded:
        """Live the session; return why it ended.

        Cancelling loses what was read and not yet sent to the writer; `context.stop` ends a
        session without that.
        """
        frames_to, reads = trio.open_memory_channel[Received](READS_WAITING)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._guard, partial(self._receive, reads))
            async with frames_to:
                await self._guard(partial(self._use_transport, frames_to.clone()))
                await self._leave(frames_to)
        ending = self._ending or SessionEnded(Ending.STREAM_ENDED)
        self._ledger.ended(ending, self._asked(), rows=self.rows)
        await self._deliver(self._ledger.take())
        return ending

    def _asked(self) -> list[Topic]:
        """Return the topics that this session has told the exchange about, but for refused ones."""
        if self._stream is None:
            return []
        return [topic for topic in self._topics if topic not in self.refused]

    # Inside of the transport scope.

    async def _guard(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run `task`; whatever it raises, bugs included, ends the session and nothing else."""
        try:
            await task()
        except Exception as exc:
            ending = ending_of(
                exc,
                now_s=self._context.now_us() / 1e6,
                alternative_url=self._adapter.alternative_url,
            )
            if ending.reason == Ending.BUG:
                self._ledger.log.exception("bug in a session")
            self.end(ending)

    async def _use_transport(self, frames_to: trio.MemorySendChannel[Received]) -> None:
        """Connect and run the session's tasks until something ends it; closes `frames_to`."""
        with frames_to, self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_stop)
                websocket, stream = await self._open(nursery, frames_to)
                self._ledger.log.info("connected", url=self._adapter.websocket_url())
                self._silence.restart(trio.current_time())
                self._ask_for(self._topics)
                with _counted(metrics.websocket_connected, self._markets):
                    await self._run_tasks(websocket, stream)

    async def _open(
        self, nursery: trio.Nursery, frames_to: trio.MemorySendChannel[Received]
    ) -> tuple[trio_websocket.WebSocketConnection, FrameStream]:
        """Connect and shake hands, within one deadline."""
        url = self._adapter.websocket_url()
        try:
            with trio.fail_after(CONNECT_S):
                self._socket = await connect_stream(url, self._context.ssl_context)
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

    def _ask_for(self, topics: list[Topic]) -> None:
        wanted = [self._connection.topics[topic] for topic in topics]
        requests = self._adapter.build_subscribe_messages(wanted, self._request_id)
        self._request_id += len(requests)
        for request in requests:
            self._to_ask.send_nowait(request)

    async def _ask(self, websocket: trio_websocket.WebSocketConnection) -> None:
        """Send the requests, at the rate that the exchange allows."""
        rate = self._adapter.limits.requests
        throttle = Throttle([rate] if rate else [])
        async for request in self._requests:
            await trio.sleep(throttle.reserve(trio.current_time()))
            await send_message(websocket, request.text)
            granted = self._subscribing.ask(request, trio.current_time())
            if granted:
                self._ledger.subscribed(granted)

    async def _keep_alive(
        self, websocket: trio_websocket.WebSocketConnection, stream: FrameStream
    ) -> None:
        if self._adapter.keepalive is not None:
            await run_keepalive(
                websocket,
                self._adapter.keepalive,
                lambda: stream.latest_read,
                self._count_ping,
                self._count_pong,
            )

    def _count_ping(self) -> None:
        for market in self._markets:
            metrics.pings_sent.labels(*market).inc()

    def _count_pong(self) -> None:
        for market in self._markets:
            metrics.pongs_received.labels(*market).inc()

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
        while True:
            await trio.sleep_until(stream.latest_read + limit_s)
            if trio.current_time() - stream.latest_read >= limit_s:
                self._count_timeout()
                raise SessionEnded(Ending.DEAD_TIMEOUT, f"no byte for {limit_s:g} s")

    async def _watch_data(self) -> None:
        limit_s = self._connection.data_timeout_s
        while True:
            await trio.sleep_until(self._silence.next_deadline())
            stale = self._silence.newly_stale(trio.current_time())
            if stale:
                self._ledger.stale(stale, limit_s)
            if self._silence.is_total():
                self._count_timeout()
                raise SessionEnded(Ending.DATA_TIMEOUT, f"no data for {limit_s:g} s")

    def _count_timeout(self) -> None:
        for market in self._markets:
            metrics.message_timeouts.labels(*market).inc()

    async def _watch_acks(self) -> None:
        while True:
            await trio.sleep(ACK_S)
            overdue = self._subscribing.overdue(trio.current_time(), ACK_S)
            if overdue:
                names = ", ".join(f"{topic.symbol} {topic.data_type}" for topic in overdue)
                text = f"no answer within {ACK_S:g} s to the subscription of {names}"
                raise SessionEnded(Ending.SUBSCRIBE_FAILED, text)

    async def _watch_age(self) -> None:
        limit_s = self._adapter.max_session_s
        if limit_s is None:
            return
        planned_s = (limit_s - AGE_MARGIN_S) * (1 - AGE_SPREAD * self._context.random())
        await trio.sleep(planned_s)
        text = f"after {planned_s:.0f} s, for the exchange ends a connection after {limit_s:g} s"
        raise SessionEnded(Ending.HANDOVER, text)

    async def _leave(self, frames_to: trio.MemorySendChannel[Received]) -> None:
        """Hand over what was read, say goodbye if that takes no time, and close."""
        gone = (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)
        if self._stream is not None:
            with contextlib.suppress(*gone):  # a bug may have ended `receive`
                for received in self._stream.take_undelivered():
                    await frames_to.send(received)
            with trio.move_on_after(CLOSE_S), contextlib.suppress(*gone):
                await self._stream.send_all(CLOSE_FRAME)
        if self._socket is not None:
            await trio.aclose_forcefully(self._socket)

    # Outside of it.

    async def _receive(self, reads: trio.MemoryReceiveChannel[Received]) -> None:
        """Turn what was read into rows and send them to the writer, until nothing is left."""
        async with reads:
            async for received in reads:
                rows = self._reader.read(received.received_us, received.frames)
                self._notice(rows)
                await self._deliver([*self._ledger.take(), *rows.batches])
                self._count(rows.batches)

    async def _deliver(self, batches: list[Batch]) -> None:
        await self._context.budget.acquire(sum(batch.size_bytes for batch in batches))
        for batch in batches:
            await self._to_writer.send(batch)

    def _count(self, batches: list[Batch]) -> None:
        for batch in batches:
            exchange, symbol, data_type = batch.stream
            metrics.messages_received.labels(exchange, symbol, data_type).inc(batch.rows)
            metrics.last_message.labels(exchange, symbol).set(batch.received_us / 1e6)
            sent_us = batch.exchange_us[-1]
            if sent_us is not None:
                metrics.latency_ms.labels(exchange).observe((batch.received_us - sent_us) / 1e3)
            self.rows += batch.rows

    def _notice(self, rows: Rows) -> None:
        """Act on what came with `rows`: first data, acks and notices, holes, unreadable frames."""
        now = trio.current_time()
        for control in rows.controls:
            self._act(control)
        readable = 0
        for batch in rows.batches:
            if batch.stream.data_type is DataType.UNPARSED:
                continue
            readable += batch.rows
            topic = Topic(batch.stream.symbol, batch.stream.data_type)
            self._silence.heard(topic, now)
            if topic not in self._live:
                self._live.add(topic)
                self._ledger.live(topic)
                self.live_since = self.live_since or now
        for finding in rows.findings:
            self._ledger.found(finding, [finding.topic] if finding.topic else self._topics)
        self._judge(readable, rows, now)

    def _judge(self, readable: int, rows: Rows, now: float) -> None:
        """Report unreadable frames, and end a session that is mostly made of them."""
        if rows.unreadable:
            metrics.unparsed.labels(self._adapter.name).inc(len(rows.unreadable))
            self._report_kind(f"unreadable: {rows.unreadable[0].reason}")
        if self._breaker.record(readable, len(rows.unreadable), now):
            metrics.circuit_breaks.labels(self._adapter.name).inc()
            self._ledger.note(self._topics, LedgerEvent.BREAKER)
            self.end(SessionEnded(Ending.BREAKER, "most frames could not be read"))

    def _report_kind(self, kind: str) -> None:
        """Log `kind` of message once in a session."""
        if kind not in self._kinds:
            self._kinds.add(kind)
            self._ledger.log.warning("message kept as unparsed", kind=kind)

    def _act(self, control: Control) -> None:
        match control:
            case Ack():
                granted = self._subscribing.grant(control)
                if granted:
                    self._ledger.subscribed(granted)
            case Rejection():
                self._refuse(control)
            case Pong():
                self._count_pong()
            case Notice(reason):
                self._ledger.log.warning("exchange announces an end", reason=reason)
                self.end(SessionEnded(Ending.HANDOVER, reason))
            case Foreign(kind):
                self._report_kind(kind)
            case _:
                pass

    def _refuse(self, rejection: Rejection) -> None:
        refusal = self._subscribing.refuse(rejection)
        for group in refusal.again:
            self._ask_for(group)
        if refusal.refused:
            self._ledger.rejected(refusal.refused, rejection.reason)
        elif not refusal.again:
            self._ledger.log.warning("exchange reports an error", reason=rejection.reason)
        for topic in refusal.refused:
            self._silence.forget(topic)
        if set(self._topics) <= self._subscribing.refused:
            self.end(SessionEnded(Ending.SUBSCRIBE_FAILED, rejection.reason))


@contextlib.contextmanager
def _counted(gauge: Gauge, markets: Iterable[tuple[str, str]]) -> Iterator[None]:
    """Count one more in `gauge` for each of `markets`, as long as the block runs."""
    series = [gauge.labels(*market) for market in markets]
    for each in series:
        each.inc()
    try:
        yield
    finally:
        for each in series:
            each.dec()
