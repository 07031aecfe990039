"""One life of a connection: connect, subscribe, receive, and one reason for its end.

    session nursery
      intake              rows to the writer, until all that was read is on its way
      transport scope     cancelled by whatever ends the session
        trio-websocket    handshake, control frames, close codes
        ask               subscribe requests, at the rate that the exchange allows
        fetch             whole books, where they come by HTTP
        keep alive        pings, as the adapter says
        watch             close frames · silence · acks · age · the wish to stop

Whatever ends a session calls `end` with its reason; the first one stands. That cancels the
transport scope, and no more is read. The intake lives outside of it, so that every frame that was
read reaches the writer, also when the session is told to stop. What frames mean for the session is
judged in `monitor`.

Two clocks run: any byte (the transport is alive) and data for each topic (the feed is alive);
heartbeats and pongs count for the first alone. A topic that is silent among others is reported by
name and asked for again. While rows wait for the writer nothing is read, and the clocks stand still:
a slow disk is not the exchange's silence.

A session whose end is known ahead, by its age or by a notice, or all of whose topics are silent,
asks to be *relieved* and goes on; whoever runs it ends it when the next one carries its topics.
"""

import contextlib
import math
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import trio
import trio_websocket

from trio_collector.errors import SessionEnded
from trio_collector.events import Topic
from trio_collector.exchanges.adapter import SubscribeRequest
from trio_collector.feed.books.fetch import fetch_book
from trio_collector.feed.context import LineContext
from trio_collector.feed.end_reason import EndReason
from trio_collector.feed.health.adaptive_timeout import REVIEW_S
from trio_collector.feed.receiver import Receiver
from trio_collector.feed.requests import RequestSender
from trio_collector.feed.session_log import SessionLog
from trio_collector.feed.wire.failures import closed_session, end_of
from trio_collector.feed.wire.keepalive import run_keepalive
from trio_collector.feed.wire.transport import FrameStream, Read, open_websocket

CONNECT_S = 10.0  # TCP, TLS and the handshake together
CLOSE_S = 0.5  # our close frame is a courtesy

# Leaving this long before the exchange's own limit keeps the choice of the moment ours; and
# sessions that were opened together must not all be replaced together.
AGE_MARGIN_S = 600.0
AGE_SPREAD = 0.1

# A masked close frame with code 1000; the mask of zeros leaves the code readable.
CLOSE_FRAME = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


class Session:
    """One session of a leg; `run` lives it and says why it ended."""

    def __init__(self, given: LineContext, *, number: int, topics: list[Topic]) -> None:
        self.number = number
        self.wants_handover = trio.Event()
        self.ended_us: int | None = None
        self._planned_end: SessionEnded | None = None
        self._connection = given.connection
        self._adapter = given.connection.adapter
        self._url = self._adapter.websocket_url(given.line)
        self._context = given.feeds
        self._ledger = SessionLog(
            given.connection,
            topics,
            given.feeds.now_us,
            number=number,
            line=given.line,
            run=given.feeds.run,
            live=given.feeds.live,
        )
        self._receiver = Receiver(given, self._ledger, topics=topics, heed=self._heed)
        self.monitor = self._receiver.monitor
        exchange_limits = given.feeds.exchange_limits[self._adapter.name]
        self._requests = RequestSender(self.monitor, self._adapter.limits, exchange_limits)
        self._to_fetch, self._fetches = trio.open_memory_channel[Topic](math.inf)
        self._ending: SessionEnded | None = None
        self._scope = trio.CancelScope()
        self._socket: trio.abc.Stream | None = None
        self._stream: FrameStream | None = None  # over the socket, once shaken hands

    @property
    def refused(self) -> set[Topic]:
        """The topics that the exchange refused."""
        return self.monitor.refused

    @property
    def carried_s(self) -> float:
        """How long the session carried data, from the first to the latest."""
        return self.monitor.carried_s

    def end(self, ending: SessionEnded) -> None:
        """End the session; the first ending stands."""
        if self._ending is None:
            self._ending = ending
            self.ended_us = self._context.now_us()
        self._scope.cancel()

    @property
    def leaving(self) -> SessionEnded | None:
        """Why the session should be relieved; None if there is no reason any more."""
        return self._planned_end or self.monitor.leaving

    def plan_end(self, detail: str) -> None:
        """Let the session be relieved, for a reason of ours."""
        self._planned_end = SessionEnded(EndReason.HANDOVER, detail)
        self._ask_handover()

    def _ask_handover(self) -> None:
        if self.leaving is not None and not self.wants_handover.is_set():
            self._ledger.log.info("session to be relieved", why=str(self.leaving))
            self.wants_handover.set()

    def stay(self) -> None:
        """Take note that the reason to be relieved is gone."""
        self.wants_handover = trio.Event()

    def lags(self, other: "Session") -> list[Topic]:
        """Return the topics that `other` carries and this session does not yet."""
        return self.monitor.lags(other.monitor, trio.current_time())

    def note_handover(self, other: "Session") -> None:
        """Write into the ledger that this session has relieved `other`, which is over."""
        self._ledger.handed_over(self.monitor.wanted, other.number, until_us=other.ended_us)
        self._receiver.nudge()

    def need_book(self, topic: Topic) -> None:
        """See to it that the whole book of `topic` comes once more."""
        if self.monitor.resync.is_fetched(topic):
            self.monitor.resync.need(topic, trio.current_time())
            self._receiver.nudge()
        else:
            self.plan_end("a file begins without the whole book")

    async def run(self) -> SessionEnded:
        """Live the session; return why it ended.

        Cancelling closes the connection and loses what was read and not yet sent to the writer;
        `context.stop` ends a session without that.
        """
        frames_to = self._receiver.frames_to
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receiver.run, self._guard)
                async with frames_to:
                    await self._guard(partial(self._use_transport, frames_to.clone()))
                    await self._hand_over(frames_to)
        finally:
            self._receiver.leave()
        ending = self._ending or SessionEnded(EndReason.STREAM_ENDED)
        await self._receiver.finish(ending, at_us=self.ended_us, latest_us=self._latest_us())
        return ending

    async def _guard(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run `task`; whatever it raises, bugs included, ends the session and nothing else.

        Cancelled, which may come in a group with what it made fail, goes on its way.
        """
        try:
            await task()
        except* Exception as failures:
            ending = end_of(
                failures,
                now_s=self._context.now_us() / 1e6,
                fallback_url=self._adapter.fallback_url,
            )
            if ending.reason == EndReason.BUG:
                self._ledger.log.exception("bug in a session")
            self.end(ending)

    def _latest_us(self) -> int | None:
        """Return when the latest byte came; None if no connection was opened."""
        if self._stream is None:
            return None
        silent_s = trio.current_time() - self._stream.latest_read
        return self._context.now_us() - round(silent_s * 1e6)

    # Inside of the transport scope.

    async def _use_transport(self, frames_to: trio.MemorySendChannel[Read]) -> None:
        """Connect and run the session's tasks until something ends it.

        Closes the connection and `frames_to`, whatever happens.
        """
        try:
            with frames_to, self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch_stop)
                    websocket, stream = await self._open(nursery, frames_to)
                    self._receiver.enter()
                    self._requests.start()
                    with self._ledger.connected(self._url):
                        await self._run_tasks(websocket, stream)
        finally:
            await self._hang_up()

    async def _open(
        self, nursery: trio.Nursery, frames_to: trio.MemorySendChannel[Read]
    ) -> tuple[trio_websocket.WebSocketConnection, FrameStream]:
        """Connect and shake hands, within one deadline."""
        try:
            with trio.fail_after(CONNECT_S):
                self._socket = await self._context.connect(self._url, self._context.ssl_context)
                websocket, self._stream = await open_websocket(
                    nursery,
                    self._socket,
                    self._url,
                    frames_to,
                    max_message_bytes=self._context.websocket.max_message_bytes,
                    now_us=self._context.now_us,
                )
        except trio.TooSlowError as exc:
            text = f"no WebSocket at {self._url} within {CONNECT_S:g} s"
            raise SessionEnded(EndReason.CONNECT_FAILED, text) from exc
        return websocket, self._stream

    async def _run_tasks(
        self, websocket: trio_websocket.WebSocketConnection, stream: FrameStream
    ) -> None:
        async with trio.open_nursery() as tasks:
            for task in (
                partial(self._watch_close, websocket),
                partial(self._requests.run, websocket),
                self._fetch,
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

    async def _hand_over(self, frames_to: trio.MemorySendChannel[Read]) -> None:
        """Give to the intake what was read and found no room."""
        if self._stream is not None:
            with contextlib.suppress(trio.BrokenResourceError):  # a bug has ended the intake
                for received in self._stream.take_undelivered():
                    await frames_to.send(received)

    # What is sent.

    def _heed(self, requests: Iterable[SubscribeRequest]) -> None:
        """Do what the standing asks for: send, fetch, be relieved, end."""
        for topic in self.monitor.resync.take_fetches(trio.current_time()):
            self._to_fetch.send_nowait(topic)
        self._ask_handover()
        if self.monitor.ending is not None:
            self.end(self.monitor.ending)
        self._requests.add(requests)

    async def _fetch(self) -> None:
        """Fetch whole books by HTTP, one after the other."""
        async for topic in self._fetches:
            reached = self._receiver.source.reached(topic)
            subscription = self._connection.topics[topic]
            row = await fetch_book(self._context, self._adapter, subscription, reached)
            self._receiver.add_book(topic, row)

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
        self.end(SessionEnded(EndReason.STOPPED))

    async def _watch_close(self, websocket: trio_websocket.WebSocketConnection) -> None:
        """Wait for the WebSocket's end; data frames never get this far."""
        try:
            while True:
                await websocket.get_message()
        except trio_websocket.ConnectionClosed as exc:
            raise closed_session(exc) from exc

    def _latest_sign(self, stream: FrameStream) -> float:
        return self._receiver.sender.latest_sign(stream.latest_read)

    async def _watch_transport(self, stream: FrameStream) -> None:
        limit_s = self._context.websocket.message_timeout_secs
        await self._wait_until(lambda: self._latest_sign(stream) + limit_s)
        self._ledger.timed_out()
        raise SessionEnded(EndReason.DEAD_TIMEOUT, f"no byte for {limit_s:g} s")

    async def _watch_data(self) -> None:
        while True:
            await self._wait_until(self._next_stale)
            self._heed(self.monitor.judge_silence(trio.current_time()))

    def _next_stale(self) -> float:
        """Return when to look for stale topics; at times, for limits that are learned fall."""
        return min(self.monitor.next_stale(), trio.current_time() + REVIEW_S)

    async def _watch_acks(self) -> None:
        while True:
            await self._wait_until(partial(self.monitor.next_overdue, trio.current_time()))
            self.monitor.judge_acks(trio.current_time())
            self._heed([])

    async def _wait_until(self, due: Callable[[], float]) -> None:
        await self._receiver.sender.wait_until(due)

    async def _watch_age(self) -> None:
        limit_s = self._adapter.max_session_s
        if limit_s is None:
            return
        margin_s = min(AGE_MARGIN_S, limit_s / 2)
        planned_s = (limit_s - margin_s) * (1 - AGE_SPREAD * self._context.random())
        await trio.sleep(planned_s)
        self.plan_end(f"{planned_s:.0f} s old; the exchange ends a connection at {limit_s:g} s")
