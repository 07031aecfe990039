"""A leg: the sessions that carry a connection, one after the other, until the collector stops.

A session whose end is known ahead is *relieved*: the next one is opened beside it, and only when
that carries every topic too is the first one ended. If the next does not get that far, the first
one stays and another is tried, until the exchange makes an end of it. The arbiter keeps one copy of
what both receive.

Between sessions that were not relieved it waits: for the backoff, which starts over only after a
session that carried data for a while, and for its turn to connect. It never gives up.

A topic that the exchange refused is left out of later sessions; when nothing else is left, all are
tried again, after the longest delay, for a market may be listed later.
"""

import math
import random
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio

from trio_collector.backoff import Backoff
from trio_collector.errors import SessionEnded
from trio_collector.events import Topic
from trio_collector.feed.context import LineContext
from trio_collector.feed.end_reason import BANNED, EndReason
from trio_collector.feed.session import Session

log = structlog.get_logger(__name__)

# A session that carried data for this long shows that the exchange is well again. One that drops
# right after its first data keeps the delay growing.
HEALTHY_S = 60.0

# A session that does not carry every topic by then is not going to relieve another.
HANDOVER_S = 60.0
HANDOVER_POLL_S = 0.1

NewSession = Callable[[list[Topic]], Session]


class Life:
    """A session that runs; `ending` is why it ended, once it is `over`."""

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


class Line:
    """One leg of a connection; `new_session` makes its sessions of topics."""

    def __init__(self, given: LineContext, new_session: NewSession) -> None:
        context = given.feeds
        self._connection = given.connection
        self._context = context
        self._new_session = new_session
        self._exchange_limits = context.exchange_limits[given.connection.adapter.name]
        self._refused: set[Topic] = set()
        self._lost_at = trio.current_time()
        self._carrying: Life | None = None
        websocket = context.websocket
        self._longest_s = websocket.max_retry_delay_secs
        self._backoff = Backoff(
            websocket.initial_retry_delay_secs, self._longest_s, random.Random(context.random())
        )

    def refresh(self, topic: Topic) -> None:
        """Let the whole book of `topic` come once more; nothing if no session carries it."""
        if self._carrying is not None:
            self._carrying.session.need_book(topic)

    async def run(self) -> None:
        """Keep the leg alive until the collector stops; then return by itself."""
        stop = self._context.stop
        while await self._wait_turn(self._lost_at, stop):
            life = await self._carry()
            self._lost_at = life.ended
            if not await _unless(partial(trio.sleep, self._plan_delay(life)), stop):
                return

    async def _wait_turn(self, lost_at: float, *reasons: trio.Event) -> bool:
        """Wait for the turn to connect; False, at once, if there is a reason not to."""
        subscriptions = [self._connection.topics[topic] for topic in self._plan_topics()]
        messages = len(self._connection.adapter.build_subscribe_messages(subscriptions))
        turn = partial(self._exchange_limits.connect_turn, lost_at, messages)
        return await _unless(turn, *reasons)

    async def _carry(self) -> Life:
        """Run a session, and those that relieve it, until one ends that was not relieved."""
        async with trio.open_nursery() as nursery:
            life = self._begin(nursery)
            while not life.over.is_set():
                self._carrying = life
                await _first_of(life.over, life.session.wants_handover)
                if not life.over.is_set():
                    life = await self._hand_over_to_successor(life, nursery)
        self._carrying = None
        return life

    def _begin(self, nursery: trio.Nursery) -> Life:
        topics = self._plan_topics()
        life = Life(self._new_session(topics))
        nursery.start_soon(self._live, life, topics)
        return life

    async def _live(self, life: Life, topics: list[Topic]) -> None:
        await life.run()
        self._refused = self._refused.difference(topics) | life.session.refused
        if life.session.carried_s >= HEALTHY_S:
            self._backoff.reset()
        self._heed_ban(life.ending)

    def _heed_ban(self, ending: SessionEnded) -> None:
        """Keep all feeds away from an exchange that has told this one to go."""
        if ending.code in BANNED:
            wait_s = self._exchange_limits.ban(ending.retry_after_s)
            exchange = self._connection.adapter.name
            log.warning("exchange is left alone", exchange=exchange, seconds=wait_s)

    async def _hand_over_to_successor(self, life: Life, nursery: trio.Nursery) -> Life:
        """Return the session that carries on: another one, or `life` if that did not work."""
        stop = self._context.stop
        if trio.current_time() < life.began + HEALTHY_S:
            # An exchange that announces the end of every session must not be stormed.
            await _unless(partial(trio.sleep, self._backoff.next_delay()), life.over, stop)
        # Behind all who have lost their session.
        if not await self._wait_turn(math.inf, life.over, stop):
            await life.over.wait()
            return life
        reason = life.session.leaving
        if reason is None:
            life.session.stay()
            return life
        successor = self._begin(nursery)
        await self._wait_carrying(successor, life)
        if life.over.is_set():
            return successor
        if not successor.over.is_set() and not successor.session.lags(life.session):
            life.session.end(reason)
            await life.over.wait()
            successor.session.note_handover(life.session)
            return successor
        successor.session.end(SessionEnded(EndReason.HANDOVER, f"no data within {HANDOVER_S:g} s"))
        await successor.over.wait()
        delay_s = self._backoff.next_delay(successor.ending.retry_after_s or 0.0)
        await _unless(partial(trio.sleep, delay_s), life.over, stop)
        return life

    async def _wait_carrying(self, successor: Life, life: Life) -> None:
        """Wait until `successor` carries what `life` does, one of them is over, or time is up."""
        with trio.move_on_after(HANDOVER_S):
            while not (successor.over.is_set() or life.over.is_set()):
                if not successor.session.lags(life.session):
                    return
                await trio.sleep(HANDOVER_POLL_S)

    def _plan_topics(self) -> list[Topic]:
        """Return what to ask for: all that was not refused, or everything if all was."""
        wanted = list(self._connection.topics)
        return [topic for topic in wanted if topic not in self._refused] or wanted

    def _plan_delay(self, life: Life) -> float:
        """Return how long to wait before the next session, in seconds."""
        if self._refused >= set(self._connection.topics):
            return self._longest_s
        return self._backoff.next_delay(life.ending.retry_after_s or 0.0)


async def _first_of(*events: trio.Event) -> None:
    """Wait until one of `events` is set."""
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(wait, event)


async def _unless(wait: Callable[[], Awaitable[None]], *reasons: trio.Event) -> bool:
    """Wait; False, at once, when one of `reasons` is set before that is over."""
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            await _first_of(*reasons)
            nursery.cancel_scope.cancel()

        nursery.start_soon(give_up)
        await wait()
        nursery.cancel_scope.cancel()
    return not any(reason.is_set() for reason in reasons)
