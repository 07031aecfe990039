"""A line: the sessions that carry a connection, one after the other, until the collector stops.

A connection has one line or two side by side; what two bring is arbitrated. On a line a session
whose end is known ahead is *handed over*: a successor is started beside it, and only when that
carries every topic too is the old one ended. If the successor does not get that far, the old one
stays and another is tried, until the exchange ends it.

Between sessions that were not handed over the line waits: for the backoff, which starts over only
after a session that carried data for a while, and for its turn to connect. It never gives up.

A topic that the exchange refused is left out of later sessions; when nothing else is left, all are
tried again, after the longest delay, for a market may be listed later.
"""

import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
import trio

from trio_collector.backoff import Backoff
from trio_collector.errors import SessionEnded
from trio_collector.events import Topic
from trio_collector.feed.context import LineContext
from trio_collector.feed.session import Session
from trio_collector.feed.wire.end_reason import BANNED, EndReason

log = structlog.get_logger(__name__)

# A session that carried data for this long shows that the exchange is well again. One that drops
# right after its first data keeps the delay growing.
HEALTHY_S = 60.0

# A session that does not carry every topic by then does not become the successor of another.
HANDOVER_S = 60.0
HANDOVER_POLL_S = 0.1

NewSession = Callable[[list[Topic]], Session]


class RunningSession:
    """A session that runs, or has run; `ending` is why it ended, once it is `over`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.over = trio.Event()
        self.ending = SessionEnded(EndReason.STREAM_ENDED)
        self.began = trio.current_time()
        self.ended = self.began

    async def run(self) -> None:
        """Live the session."""
        self.ending = await self.session.run()
        self.ended = trio.current_time()
        self.over.set()

    async def end(self, ending: SessionEnded) -> None:
        """End the session, and wait until it is over."""
        self.session.end(ending)
        await self.over.wait()


class Line:
    """One line of a connection; `new_session` makes its sessions of topics."""

    def __init__(self, shared: LineContext, new_session: NewSession) -> None:
        websocket = shared.feeds.websocket
        self._connection = shared.connection
        self._stop = shared.feeds.stop
        self._new_session = new_session
        self._exchange_limits = shared.feeds.exchange_limits[shared.connection.adapter.name]
        self._refused: set[Topic] = set()
        self._carrying: RunningSession | None = None
        self._longest_s = websocket.max_retry_delay_secs
        self._backoff = Backoff(
            websocket.initial_retry_delay_secs,
            self._longest_s,
            random.Random(shared.feeds.random()),
        )

    def refresh(self, topic: Topic) -> None:
        """Let the whole book of `topic` come once more; nothing if no session carries it."""
        if self._carrying is not None:
            self._carrying.session.request_book(topic)

    async def run(self) -> None:
        """Keep the line alive until the collector stops; then return by itself."""
        lost_at = trio.current_time()
        while await self._wait_to_connect(lost_at, self._stop):
            last = await self._carry()
            lost_at = last.ended
            if not await self._wait(self._plan_delay(last), self._stop):
                return

    async def _carry(self) -> RunningSession:
        """Run a session and its successors until one ends that was not handed over."""
        async with trio.open_nursery() as nursery:
            current = self._start(nursery)
            while not current.over.is_set():
                self._carrying = current
                async with until(current.over):
                    await current.session.wants_handover.wait()
                if not current.over.is_set():
                    current = await self._hand_over(current, nursery)
        self._carrying = None
        return current

    def _start(self, nursery: trio.Nursery) -> RunningSession:
        topics = self._plan_topics()
        running = RunningSession(self._new_session(topics))
        nursery.start_soon(self._live, running, topics)
        return running

    async def _live(self, running: RunningSession, topics: list[Topic]) -> None:
        await running.run()
        self._refused = self._refused.difference(topics) | running.session.refused
        if running.session.carried_s >= HEALTHY_S:
            self._backoff.reset()
        self._apply_ban(running.ending)

    def _apply_ban(self, ending: SessionEnded) -> None:
        """Keep all feeds away from an exchange that has told this one to go."""
        if ending.code in BANNED:
            wait_s = self._exchange_limits.ban(ending.retry_after_s)
            exchange = self._connection.adapter.name
            log.warning("exchange is left alone", exchange=exchange, seconds=wait_s)

    async def _hand_over(self, old: RunningSession, nursery: trio.Nursery) -> RunningSession:
        """Return the session that carries on: a successor, or `old` if that did not work."""
        if trio.current_time() < old.began + HEALTHY_S:
            # An exchange that announces the end of every session must not be flooded.
            await self._wait(self._backoff.next_delay(), old.over, self._stop)
        # Behind all who have lost their session.
        if not await self._wait_to_connect(math.inf, old.over, self._stop):
            await old.over.wait()
            return old
        reason = old.session.handover_reason
        if reason is None:
            old.session.cancel_handover()
            return old
        new = self._start(nursery)
        if await self._has_caught_up(new, old):
            await old.end(reason)
            new.session.record_handover(old.session)
            return new
        if old.over.is_set():
            return new
        await new.end(SessionEnded(EndReason.HANDOVER, f"no data within {HANDOVER_S:g} s"))
        delay_s = self._backoff.next_delay(new.ending.retry_after_s or 0.0)
        await self._wait(delay_s, old.over, self._stop)
        return old

    async def _has_caught_up(self, new: RunningSession, old: RunningSession) -> bool:
        """Wait until `new` carries what `old` does; False if one is over first, or time is up.

        It may be with the passing of time alone, where both are quiet: that is why it polls.
        """
        with trio.move_on_after(HANDOVER_S):
            while not (new.over.is_set() or old.over.is_set()):
                if not new.session.lags(old.session):
                    return True
                await trio.sleep(HANDOVER_POLL_S)
        return False

    async def _wait_to_connect(self, lost_at: float, *reasons: trio.Event) -> bool:
        """Wait for the turn to connect; False, at once, if there is a reason not to."""
        subscriptions = [self._connection.topics[topic] for topic in self._plan_topics()]
        messages = len(self._connection.adapter.build_subscribe_messages(subscriptions))
        async with until(*reasons):
            await self._exchange_limits.wait_to_connect(lost_at, messages)
        return not _any_set(reasons)

    async def _wait(self, delay_s: float, *reasons: trio.Event) -> bool:
        """Wait; False, at once, if there is a reason not to."""
        async with until(*reasons):
            await trio.sleep(delay_s)
        return not _any_set(reasons)

    def _plan_topics(self) -> list[Topic]:
        """Return what to ask for: all that was not refused, or everything if all was."""
        wanted = list(self._connection.topics)
        return [topic for topic in wanted if topic not in self._refused] or wanted

    def _plan_delay(self, last: RunningSession) -> float:
        """Return how long to wait before the next session, in seconds."""
        if self._refused >= set(self._connection.topics):
            return self._longest_s
        return self._backoff.next_delay(last.ending.retry_after_s or 0.0)


def _any_set(events: tuple[trio.Event, ...]) -> bool:
    return any(event.is_set() for event in events)


@asynccontextmanager
async def until(*events: trio.Event) -> AsyncIterator[None]:
    """Run the block to its end, or until one of `events` is set, which cancels it."""
    async with trio.open_nursery() as nursery:

        async def watch(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(watch, event)
        yield
        nursery.cancel_scope.cancel()
