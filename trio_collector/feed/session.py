"""One life of a connection: connect, subscribe, receive, and one reason for its end.

    session nursery
      sender              rows that had no room, to the writer, until nothing is left
      transport scope     cancelled by whatever ends the session
        websocket         reads, splits, and answers control frames; hands each read to `_receive`
        requests          subscribe requests, at the rate that the exchange allows
        snapshots         whole books by HTTP, where they come that way
        keepalive         pings, as the adapter says
        watch             close frame · silence and acks · age · the wish to stop

The path of a frame is one plain call, made where it was read:

    _receive ─▶ decoder (frames to rows) ─▶ monitor (what follows) ─▶ _perform ─▶ sender

Nothing is read and left undecoded, so that whatever ends the session loses no frame that was read.
The first reason to end stands; it cancels the transport scope, and the sender, outside of it, sends
what waits. While the writer has no room nothing is read, and the clock that silence is measured by
stands still: a slow disk is not the exchange's silence.

A session whose end is known ahead, by its age or by a notice, or all of whose topics are silent,
asks for a successor and goes on; the line ends it when the successor carries its topics.
"""

import math
import random
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import trio

from trio_collector.errors import SessionEnded
from trio_collector.events import Batch, Topic
from trio_collector.exchanges.adapter import Keepalive
from trio_collector.feed.actions import Action, End, Fetch, HandOver, Live, Send, TimedOut
from trio_collector.feed.books.fetch import BookFetcher
from trio_collector.feed.context import LineContext
from trio_collector.feed.decoder import Decoded, FrameDecoder
from trio_collector.feed.health.adaptive_timeout import REVIEW_S
from trio_collector.feed.listening_clock import ListeningClock
from trio_collector.feed.monitor import SessionMonitor
from trio_collector.feed.requests import RequestQueue
from trio_collector.feed.sender import BatchSender
from trio_collector.feed.session_log import SessionLog
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.feed.wire.failures import end_of
from trio_collector.feed.wire.transport import Read
from trio_collector.feed.wire.websocket import WebSocket

# Leaving this long before the exchange's own limit keeps the choice of the moment ours; and
# sessions that were opened together must not all be replaced together.
AGE_MARGIN_S = 600.0
AGE_SPREAD = 0.1


class Session:
    """One session of a line; `run` lives it and says why it ended."""

    def __init__(self, shared: LineContext, *, number: int, topics: list[Topic]) -> None:
        connection, self._context = shared.connection, shared.feeds
        self.number = number
        self.wants_handover = trio.Event()
        self.ended_us: int | None = None
        self._connection = connection
        self._adapter = connection.adapter
        self._topics = topics
        self._snapshots = shared.snapshots
        self._drift = shared.feeds.drifts[self._adapter.name]
        self._log = SessionLog(
            connection,
            topics,
            shared.feeds.now_us,
            number=number,
            line=shared.line,
            run=shared.feeds.run,
            live=shared.feeds.live,
        )
        self._source = shared.arbiter.open_source(self._release)
        self._clock = ListeningClock()
        self._decoder = FrameDecoder(self._adapter, list(connection.topics), self._source)
        self.monitor = SessionMonitor(
            connection, topics, self._source, shared.snapshots, shared.timeouts, self._clock.now()
        )
        self._sender = BatchSender(shared.to_writer, shared.feeds.budget, self._log.count_sent)
        limits = shared.feeds.exchange_limits[self._adapter.name]
        self._requests = RequestQueue(self.monitor.subscriptions, self._adapter.limits, limits)
        self._fetcher = BookFetcher(
            self._adapter,
            limits,
            shared.feeds.http_get,
            shared.feeds.now_us,
            random.Random(shared.feeds.random()),
        )
        self._to_fetch, self._fetches = trio.open_memory_channel[Topic](math.inf)
        self._age_reason: SessionEnded | None = None
        self._ending: SessionEnded | None = None
        self._scope = trio.CancelScope()
        self._websocket = WebSocket(
            self._adapter.websocket_url(shared.line),
            shared.feeds.connect_to,
            self._receive,
            self._wait_for_room,
            max_message_bytes=shared.feeds.websocket.max_message_bytes,
            now_us=shared.feeds.now_us,
        )

    # What its line knows of it.

    @property
    def refused(self) -> set[Topic]:
        """The topics that the exchange refused."""
        return self.monitor.refused

    @property
    def carried_s(self) -> float:
        """How long the session carried data, from the first to the latest."""
        return self.monitor.carried_s

    @property
    def handover_reason(self) -> SessionEnded | None:
        """Why the session wants a successor; None if there is no reason any more."""
        return self._age_reason or self.monitor.handover_reason

    def end(self, ending: SessionEnded) -> None:
        """End the session; the first ending stands."""
        if self._ending is None:
            self._ending = ending
            self.ended_us = self._context.now_us()
        self._scope.cancel()

    def cancel_handover(self) -> None:
        """Take note that the reason for a successor is gone."""
        self.wants_handover = trio.Event()

    def lags(self, other: "Session") -> list[Topic]:
        """Return the topics that `other` carries and this session does not yet."""
        return self.monitor.lags(other.monitor, self._clock.now())

    def record_handover(self, other: "Session") -> None:
        """Write into the ledger that this session has taken over from `other`, which is over."""
        self._log.handed_over(self.monitor.wanted, other.number, until_us=other.ended_us)
        self._put()

    def request_book(self, topic: Topic) -> None:
        """See to it that the whole book of `topic` comes once more."""
        self._perform(self.monitor.request_snapshot(topic, self._clock.now()))

    async def run(self) -> SessionEnded:
        """Live the session; return why it ended.

        Cancelling closes the connection and loses the rows that wait for the writer;
        `context.stop` ends a session without that.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sender.run)
            try:
                await self._run_guarded(self._use_transport)
                await self._sender.wait_sent()
            finally:
                # From here on another session may go on.
                if self._source.leave():
                    self._snapshots.discard_all()
            return self._finish()

    def _finish(self) -> SessionEnded:
        """Send what was held back for this session's sake, and what the ledger says of its end."""
        self._release()
        ending = self._ending or SessionEnded(EndReason.STREAM_ENDED)
        self._log.ended(
            ending, self.monitor.wanted, at_us=self.ended_us, latest_us=self._latest_us()
        )
        self._put()
        self._sender.close()
        return ending

    def _latest_us(self) -> int | None:
        """Return when the latest byte came; None if no connection was opened."""
        latest_read = self._websocket.latest_read
        if latest_read is None:
            return None
        return self._context.now_us() - round((trio.current_time() - latest_read) * 1e6)

    # The path of a frame.

    def _receive(self, read: Read) -> None:
        """Take what one read brought to the sender.

        Frames that a bug leaves undecoded are kept as they came, for the next version to read.
        """
        try:
            decoded = self._decoder.decode(*read)
        except Exception as exc:  # noqa: BLE001 - a bug in an adapter ends this session alone
            self._fail(exc)
            decoded = self._decoder.keep_raw(*read)
        self._handle(decoded, read.received_us)

    def _release(self) -> None:
        """Take to the sender what is no longer held back for another session's sake."""
        self._handle(self._decoder.release(), self._context.now_us())

    def _handle(self, decoded: Decoded, at_us: int) -> None:
        try:
            self._observe(decoded, at_us)
        except Exception as exc:  # noqa: BLE001 - as above, and the rows are sent all the same
            self._fail(exc)
        self._put(decoded.batches)

    def _observe(self, decoded: Decoded, at_us: int) -> None:
        actions = self.monitor.observe(decoded, at_us, self._clock.now())
        live = {each.topic for each in actions if isinstance(each, Live)}
        self._perform(actions)
        self._log.warn(self._drift.observe(decoded, trio.current_time(), live))

    def _perform(self, actions: Iterable[Action]) -> None:
        """Do what the monitor wants done."""
        for action in actions:
            match action:
                case Send(request):
                    self._requests.add(request)
                case Fetch(topic):
                    self._to_fetch.send_nowait(topic)
                case HandOver():
                    self._request_handover()
                case End(ending):
                    self.end(ending)
                case _:
                    self._log.record(action)
        self._requests.wake()

    def _request_handover(self) -> None:
        if not self.wants_handover.is_set():
            self._log.log.info("handover requested", why=str(self.handover_reason))
            self.wants_handover.set()

    def _put(self, batches: Iterable[Batch] = ()) -> None:
        """Send what the ledger has to say, and `batches` behind it."""
        self._sender.put([*self._log.flush(), *batches])
        self._log.repeated(self._decoder.take_repeated())

    # The transport.

    async def _run_guarded(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run `task`; whatever it raises, bugs included, ends the session and nothing else.

        Cancellation goes on its way, also out of a group with what it made fail.
        """
        try:
            await task()
        except* Exception as failures:  # noqa: BLE001 - sorted by `_fail`, and told
            self._fail(failures)

    def _fail(self, failure: Exception) -> None:
        """End the session for what `failure` means."""
        ending = end_of(
            failure,
            now_s=self._context.now_us() / 1e6,
            fallback_url=self._adapter.fallback_url,
        )
        if ending.reason == EndReason.BUG:
            self._log.log.exception("bug in a session")  # noqa: LOG004 - handlers call this
        self.end(ending)

    async def _use_transport(self) -> None:
        """Connect and run the session's tasks until something ends it; closes the connection."""
        async with self._websocket:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch_stop)
                    await self._websocket.open(nursery)
                    self._source.enter(self._topics)
                    self._requests.start(self.monitor.start(self._clock.now()))
                    with self._log.connected(self._websocket.url):
                        await self._run_tasks()

    async def _wait_for_room(self) -> None:
        if not self._sender.has_room:
            with self._clock.stopped():
                await self._sender.wait_room()

    async def _run_tasks(self) -> None:
        tasks: dict[str, Callable[[], Awaitable[None]]] = {
            "close": self._websocket.wait_closed,
            "requests": self._send_requests,
            "staleness": self._watch_staleness,
            "snapshots": self._fetch_snapshots,
        }
        if self._adapter.keepalive is not None:
            tasks["keepalive"] = partial(self._keep_alive, self._adapter.keepalive)
        if self._adapter.max_session_s is not None:
            tasks["age"] = partial(self._watch_age, self._adapter.max_session_s)
        async with trio.open_nursery() as nursery:
            for name, task in tasks.items():
                nursery.start_soon(self._run_guarded, task, name=f"{self._connection.name}: {name}")

    # What is sent.

    async def _send_requests(self) -> None:
        """Send requests when their turn comes; raises SessionEnded if one does not leave."""
        while True:
            request = await self._requests.wait_next()
            self.monitor.record_request(request, self._clock.now())
            await self._websocket.send(request.text)
            self._perform(self.monitor.record_sent(request, self._clock.now()))
            self._put()

    async def _fetch_snapshots(self) -> None:
        """Fetch whole books by HTTP, one after the other."""
        async for topic in self._fetches:
            reached = self._source.reached(topic)
            subscription = self._connection.topics[topic]
            row = await self._fetcher.fetch(subscription, reached)
            self.monitor.resync.record_snapshot(topic, row.received_us)
            self._put([row])

    async def _keep_alive(self, policy: Keepalive) -> None:
        await self._websocket.keep_alive(
            policy, self._latest_sign, self._log.ping_sent, self._log.pong_received
        )

    # What is watched.

    async def _watch_stop(self) -> None:
        await self._context.stop.wait()
        self.end(SessionEnded(EndReason.STOPPED))

    async def _watch_staleness(self) -> None:
        """Let the monitor look when something may not have come in time.

        Raises SessionEnded when no byte at all did. It looks at times though nothing is due:
        limits that are learned fall.
        """
        while True:
            latest = self._clock.now() + REVIEW_S
            now = await self._clock.sleep_until(partial(self._next_check, latest))
            if now >= self._dead_at():
                self._log.record(TimedOut())
                limit_s = self._context.websocket.message_timeout_secs
                raise SessionEnded(EndReason.DEAD_TIMEOUT, f"no byte for {limit_s:g} s")
            self._perform(self.monitor.check(now))
            self._put()

    def _next_check(self, latest: float) -> float:
        return min(self._dead_at(), self.monitor.next_deadline(self._clock.now()), latest)

    def _dead_at(self) -> float:
        sign = self._clock.listening_time(self._latest_sign())
        return sign + self._context.websocket.message_timeout_secs

    def _latest_sign(self) -> float:
        """Return when the exchange was last heard, by trio's clock, or could not be heard."""
        latest_read = self._websocket.latest_read
        return self._clock.latest_sign(-math.inf if latest_read is None else latest_read)

    async def _watch_age(self, limit_s: float) -> None:
        margin_s = min(AGE_MARGIN_S, limit_s / 2)
        planned_s = (limit_s - margin_s) * (1 - AGE_SPREAD * self._context.random())
        await trio.sleep(planned_s)
        detail = f"{planned_s:.0f} s old; the exchange ends a connection at {limit_s:g} s"
        self._age_reason = SessionEnded(EndReason.HANDOVER, detail)
        self._request_handover()
