"""A feed: the sessions of one connection, one after the other, until the collector stops.

Between sessions it waits: for the backoff, which starts over only after a session that carried
data for a while, and for the venue's limit on connects, which all feeds of the process share. It
never gives up. A session that lasted and then was left on purpose is followed by the next at once;
an exchange that announces its end to everyone who connects is not.

A topic that the exchange refused is left out of later sessions; when nothing else is left, all are
tried again, after the longest delay, for a market may be listed later.
"""

import random

import trio

from trio_collector import metrics
from trio_collector.backoff import Backoff
from trio_collector.errors import SessionEnded
from trio_collector.events import Batch, Topic
from trio_collector.feed.continuity import Continuity
from trio_collector.feed.ending import PLANNED
from trio_collector.feed.plan import Connection
from trio_collector.feed.session import FeedContext, Session

# A session that carried data for this long shows that the exchange is well again. One that drops
# right after its first data keeps the delay growing.
HEALTHY_S = 60.0


async def run_feed(
    connection: Connection, context: FeedContext, to_writer: trio.MemorySendChannel[Batch]
) -> None:
    """Keep `connection` alive until `context.stop` is set; closes `to_writer`.

    When `stop` is set, rows that were read are still sent, then the task ends by itself.
    """
    async with to_writer:
        await _Feed(connection, context, to_writer).run()


class _Feed:
    """The sessions of one connection, and what one leaves to the next."""

    def __init__(
        self,
        connection: Connection,
        context: FeedContext,
        to_writer: trio.MemorySendChannel[Batch],
    ) -> None:
        self._connection = connection
        self._context = context
        self._to_writer = to_writer
        self._throttle = context.throttles[connection.adapter.name]
        self._continuity = Continuity(connection.adapter.contiguous)
        self._refused: set[Topic] = set()
        websocket = context.websocket
        self._longest_s = websocket.max_retry_delay_secs
        self._backoff = Backoff(
            websocket.initial_retry_delay_secs, self._longest_s, random.Random(context.random())
        )

    async def run(self) -> None:
        number = 0
        while await self._sleep(self._throttle.reserve(trio.current_time())):
            number += 1
            if number > 1:
                self._count_reconnect()
            started = trio.current_time()
            session, ending = await self._run_session(number)
            lasted_s = trio.current_time() - started
            if not await self._sleep(self._plan_delay(session, ending, lasted_s)):
                return

    async def _run_session(self, number: int) -> tuple[Session, SessionEnded]:
        self._continuity.start_session()
        topics = self._plan_topics()
        session = Session(
            self._connection,
            self._context,
            self._to_writer,
            self._continuity,
            number=number,
            topics=topics,
        )
        ending = await session.run()
        self._refused = self._refused.difference(topics) | session.refused
        return session, ending

    def _plan_topics(self) -> list[Topic]:
        """Return what to ask for: all that was not refused, or everything if all was."""
        wanted = list(self._connection.topics)
        return [topic for topic in wanted if topic not in self._refused] or wanted

    def _plan_delay(self, session: Session, ending: SessionEnded, lasted_s: float) -> float:
        """Return how long to wait before the next session, in seconds."""
        if session.carried_s >= HEALTHY_S:
            self._backoff.reset()
        if ending.reason in PLANNED and lasted_s >= HEALTHY_S:
            return 0.0
        if self._refused >= set(self._connection.topics):
            return self._longest_s
        return self._backoff.next_delay(ending.retry_after_s or 0.0)

    async def _sleep(self, delay_s: float) -> bool:
        """Wait for `delay_s`; False, at once, when the collector stops."""
        with trio.move_on_after(delay_s):
            await self._context.stop.wait()
        return not self._context.stop.is_set()

    def _count_reconnect(self) -> None:
        for symbol in {topic.symbol for topic in self._plan_topics()}:
            metrics.websocket_reconnects.labels(self._connection.adapter.name, symbol).inc()
