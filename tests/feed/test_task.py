"""A feed decides when the next session begins and what that asks for; it ends when told to."""

import math
import random
import ssl
from collections.abc import Callable
from typing import NamedTuple

import pytest
import trio
from trio.testing import MockClock

from trio_collector import metrics
from trio_collector.backoff import JITTER
from trio_collector.budget import ByteBudget
from trio_collector.config import WebsocketSection
from trio_collector.errors import SessionEnded
from trio_collector.events import Batch, ConnectionSequence, DataType, Event, Topic
from trio_collector.exchanges.adapter import Rate
from trio_collector.feed import task
from trio_collector.feed.continuity import Continuity, Gap
from trio_collector.feed.ending import Ending
from trio_collector.feed.plan import Connection
from trio_collector.feed.session import FeedContext
from trio_collector.feed.task import HEALTHY_S, run_feed
from trio_collector.rates import Throttle

MakeConnection = Callable[..., Connection]

INITIAL_S, LONGEST_S = 1.0, 60.0
BTC, ETH = Topic("btc", DataType.TRADE), Topic("eth", DataType.TRADE)


class Life(NamedTuple):
    """What becomes of one session."""

    reason: Ending = Ending.CLOSE_FRAME
    lasted_s: float = 0.0
    carried_s: float = 0.0
    refused: frozenset[Topic] = frozenset()
    retry_after_s: float | None = None


class Begun(NamedTuple):
    """What a session was begun with, and when."""

    at: float
    number: int
    topics: list[Topic]


class Lives:
    """The sessions of a feed, as fakes: each lives as it is told."""

    def __init__(self, *lives: Life) -> None:
        self.begun: list[Begun] = []
        self.stop = trio.Event()
        self.throttle = Throttle([])
        self.dice = random.Random(7)
        self.continuity = Continuity()  # of the latest session
        self._lives = iter(lives)

    def create(
        self,
        _connection: Connection,
        _context: FeedContext,
        _to_writer: trio.MemorySendChannel[Batch],
        continuity: Continuity,
        *,
        number: int,
        topics: list[Topic],
    ) -> "FakeSession":
        self.continuity = continuity
        self.begun.append(Begun(trio.current_time(), number, topics))
        return FakeSession(next(self._lives), self.stop)

    def delays(self, *lasted_s: float) -> list[float]:
        """Return how long the feed waited after each session."""
        starts = [begun.at for begun in self.begun]
        ends = [start + lasted for start, lasted in zip(starts, lasted_s, strict=False)]
        return [start - end for start, end in zip(starts[1:], ends, strict=False)]

    async def run(self, connection: Connection) -> None:
        """Run the feed until it ends, and check that it has closed its way to the writer."""
        context = FeedContext(
            websocket=WebsocketSection(
                initial_retry_delay_secs=INITIAL_S, max_retry_delay_secs=LONGEST_S
            ),
            budget=ByteBudget(1),
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            throttles={"scripted": self.throttle},
            stop=self.stop,
            now_us=lambda: 0,
            random=self.dice.random,
        )
        to_writer, batches = trio.open_memory_channel[Batch](0)
        async with batches:
            await run_feed(connection, context, to_writer)
            with pytest.raises(trio.EndOfChannel):
                batches.receive_nowait()


class FakeSession:
    """Lives as `life` says, or until `stop`; as STOPPED, which it is told last, it sets that."""

    def __init__(self, life: Life, stop: trio.Event) -> None:
        self._life = life
        self._stop = stop
        self.carried_s = life.carried_s
        self.refused = set(life.refused)

    async def run(self) -> SessionEnded:
        if self._life.reason == Ending.STOPPED:
            self._stop.set()
        with trio.move_on_after(self._life.lasted_s):
            await self._stop.wait()
            return SessionEnded(Ending.STOPPED)
        return SessionEnded(self._life.reason, retry_after_s=self._life.retry_after_s)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Lives]:
    """Make the sessions of a feed live as told; the one after them is the end of the collector."""

    def make(*lives: Life) -> Lives:
        sessions = Lives(*lives, Life(Ending.STOPPED))
        monkeypatch.setattr(task, "Session", sessions.create)
        return sessions

    return make


Live = Callable[..., Lives]


async def test_sessions_follow_on_each_other(
    autojump_clock: MockClock, live: Live, make_connection: MakeConnection
) -> None:
    """After each end comes the next session, with the next number, until the collector stops."""
    reconnects = metrics.websocket_reconnects.labels("scripted", "btc")
    before = reconnects._value.get()
    sessions = live(*[Life(reason) for reason in Ending if reason != Ending.STOPPED])
    await sessions.run(make_connection("trade btc", "orderbook btc"))
    count = len(Ending)
    assert [begun.number for begun in sessions.begun] == list(range(1, count + 1))
    assert reconnects._value.get() == before + count - 1  # once for each market


async def test_failures_back_off(
    autojump_clock: MockClock, live: Live, make_connection: MakeConnection
) -> None:
    """The delay doubles from the first to the longest, give or take a quarter, and goes on."""
    sessions = live(*[Life(Ending.CONNECT_FAILED)] * 12)
    await sessions.run(make_connection())
    delays = sessions.delays(*[0.0] * 12)
    for number, delay_s in enumerate(delays):
        middle_s = min(INITIAL_S * 2**number, LONGEST_S / (1 + JITTER))
        assert middle_s * (1 - JITTER) <= delay_s <= middle_s * (1 + JITTER)
    assert max(delays) <= LONGEST_S


async def test_only_a_healthy_session_resets_the_delay(
    autojump_clock: MockClock, live: Live, make_connection: MakeConnection
) -> None:
    """The delay starts over after data for a minute, not after a long life or a few messages."""
    growing = [Life()] * 4
    long_and_empty = Life(lasted_s=10 * HEALTHY_S)
    short = Life(lasted_s=500, carried_s=HEALTHY_S - 1)
    healthy = Life(lasted_s=500, carried_s=HEALTHY_S)
    lives = [*growing, long_and_empty, short, healthy]
    sessions = live(*lives)
    await sessions.run(make_connection())
    delays = sessions.delays(*(life.lasted_s for life in lives))
    assert delays[4] > 10
    assert delays[5] > 10
    assert delays[6] < 2


async def test_a_handover_is_followed_at_once(
    autojump_clock: MockClock, live: Live, make_connection: MakeConnection
) -> None:
    """A session that was left on purpose has its successor without delay, a quiet one, too."""
    lives = [Life()] * 5 + [Life(Ending.HANDOVER, lasted_s=HEALTHY_S)] * 3
    sessions = live(*lives)
    await sessions.run(make_connection())
    assert sessions.delays(*(life.lasted_s for life in lives))[5:] == [0, 0, 0]


async def test_an_exchange_that_always_announces_its_end(
    autojump_clock: MockClock, live: Live, make_connection: MakeConnection
) -> None:
    """Where every session is to be left as soon as it is open, the feed backs off."""
    sessions = live(*[Life(Ending.HANDOVER, lasted_s=1)] * 6)
    await sessions.run(make_connection())
    assert sessions.delays(*[1.0] * 6)[-1] > 10


async def test_retry_after_is_heeded(
    autojump_clock: MockClock, live: Live, make_connection: MakeConnection
) -> None:
    """What the exchange asks for outranks the longest delay; less than the delay changes nothing."""
    rejected = Ending.REJECTED_HANDSHAKE
    sessions = live(Life(rejected, retry_after_s=300), Life(rejected, retry_after_s=0.01))
    await sessions.run(make_connection())
    long_s, short_s = sessions.delays(0, 0)
    assert long_s == 300
    assert short_s >= 2 * INITIAL_S * (1 - JITTER)


async def test_refused_topics_are_left_out(
    autojump_clock: MockClock, live: Live, make_connection: MakeConnection
) -> None:
    """A topic that was refused is not asked for in later sessions."""
    sessions = live(Life(refused=frozenset({ETH})), Life())
    await sessions.run(make_connection("trade btc", "trade eth"))
    assert [begun.topics for begun in sessions.begun] == [[BTC, ETH], [BTC], [BTC]]


async def test_when_all_is_refused_all_is_tried_again(
    autojump_clock: MockClock, live: Live, make_connection: MakeConnection
) -> None:
    """With nothing left to ask for, everything is asked for again after the longest delay."""
    failed = Ending.SUBSCRIBE_FAILED
    sessions = live(
        Life(failed, refused=frozenset({BTC})),
        Life(failed, refused=frozenset({ETH})),
        Life(refused=frozenset({ETH})),
        Life(),
    )
    await sessions.run(make_connection("trade btc", "trade eth"))
    topics = [begun.topics for begun in sessions.begun]
    assert topics == [[BTC, ETH], [ETH], [BTC, ETH], [BTC], [BTC]]
    delays = sessions.delays(0, 0, 0, 0)
    assert delays[1] == LONGEST_S
    # One of them was granted meanwhile, so this is an end like others.
    assert max(delays[2:]) < 10


async def test_what_a_session_leaves_to_the_next(
    autojump_clock: MockClock, live: Live, make_connection: MakeConnection, nursery: trio.Nursery
) -> None:
    """The ids of streams are kept over sessions, the count of a connection's frames is not."""
    sessions = live(Life(lasted_s=10), Life(lasted_s=10))
    nursery.start_soon(sessions.run, make_connection())
    await trio.sleep(5)
    assert sessions.continuity.check_connection(ConnectionSequence(7)) is None
    assert sessions.continuity.check(Event("btc", DataType.TRADE, "5", None, 4, 5)) is None
    await trio.sleep(10)
    assert [begun.number for begun in sessions.begun] == [1, 2]
    assert sessions.continuity.check_connection(ConnectionSequence(0)) is None
    gap = sessions.continuity.check(Event("btc", DataType.TRADE, "9", None, 8, 9))
    assert gap == Gap(5, 8, 3)


async def test_connects_share_the_exchanges_limit(
    autojump_clock: MockClock, live: Live, make_connection: MakeConnection, nursery: trio.Nursery
) -> None:
    """All feeds of an exchange together connect no faster than it allows."""
    sessions = live(*[Life(lasted_s=math.inf)] * 5)
    sessions.throttle = Throttle([Rate(2, 1.0)])
    for _ in range(5):
        nursery.start_soon(sessions.run, make_connection())
    await trio.sleep(10)
    assert [begun.at for begun in sessions.begun] == [0, 0, 1, 1, 2]
    sessions.stop.set()


async def test_reconnects_keep_to_the_limit_too(
    autojump_clock: MockClock, live: Live, make_connection: MakeConnection
) -> None:
    """A handover at once is still a connect, and waits for its turn."""
    sessions = live(*[Life(Ending.HANDOVER, lasted_s=HEALTHY_S)] * 2)
    sessions.throttle = Throttle([Rate(1, 100.0)])
    await sessions.run(make_connection())
    assert [begun.at for begun in sessions.begun] == [0, 100, 200]


@pytest.mark.parametrize(
    ("lives", "stops_at"),
    [
        ([Life(lasted_s=math.inf)], 5.0),  # in a session
        ([Life(Ending.REJECTED_HANDSHAKE, retry_after_s=1e6)], 5.0),  # between two
    ],
)
async def test_a_stop_ends_the_feed(
    autojump_clock: MockClock,
    live: Live,
    make_connection: MakeConnection,
    nursery: trio.Nursery,
    lives: list[Life],
    stops_at: float,
) -> None:
    """Told to stop, the feed ends at once wherever it is, and closes its way to the writer."""
    sessions = live(*lives)

    async def stop() -> None:
        await trio.sleep(stops_at)
        sessions.stop.set()

    nursery.start_soon(stop)
    await sessions.run(make_connection())
    assert trio.current_time() == stops_at
    assert len(sessions.begun) == 1


async def test_a_stop_before_the_first_session(
    autojump_clock: MockClock, live: Live, make_connection: MakeConnection
) -> None:
    """A feed that waits for its first connect when the stop comes never connects."""
    sessions = live()
    sessions.throttle = Throttle([Rate(1, 100.0)])
    sessions.throttle.reserve(0)
    sessions.stop.set()
    await sessions.run(make_connection())
    assert sessions.begun == []
