"""A feed decides when the next session begins and what that asks for; it ends when told to."""

import math
import random
import ssl
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.scripted_exchange import make_connection
from tests.support.virtual_time import elapsed_s
from trio_collector.backoff import JITTER
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import WebsocketSection
from trio_collector.errors import SessionEnded
from trio_collector.events import Batch, ConnectionSequence, DataType, Event, Stream, Topic
from trio_collector.exchanges.adapter import Limits, Rate
from trio_collector.feed import task
from trio_collector.feed.books.segment_starts import SegmentStarts
from trio_collector.feed.books.snapshots import BookSnapshots
from trio_collector.feed.context import FeedContext, LineContext
from trio_collector.feed.continuity.arbitration import LineArbiter
from trio_collector.feed.continuity.sequence import Gap
from trio_collector.feed.limits.exchange_limits import ExchangeLimits
from trio_collector.feed.line import HANDOVER_S, HEALTHY_S
from trio_collector.feed.planning.connections import ConnectionPlan
from trio_collector.feed.task import run_feed
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.telemetry import metrics

INITIAL_S, LONGEST_S = 1.0, 60.0
BTC, ETH = Topic("btc", DataType.TRADE), Topic("eth", DataType.TRADE)
FOREVER = math.inf


class Life(NamedTuple):
    """What becomes of one session."""

    reason: EndReason = EndReason.CLOSE_FRAME
    lasted_s: float = 0.0
    carried_s: float = 0.0
    refused: frozenset[Topic] = frozenset()
    retry_after_s: float | None = None
    code: int | None = None
    asks_relief_s: float = FOREVER  # when it wants to be relieved
    carries_s: float = 0.0  # when it carries its topics


class Begun(NamedTuple):
    """What a session was begun with, and when."""

    at: float
    number: int
    topics: list[Topic]
    line: int


def venue_of(*connects: Rate) -> ExchangeLimits:
    return ExchangeLimits(Limits(connects=connects, topics_per_connection=100))


class Lives:
    """The sessions of a feed, as fakes: each lives as it is told."""

    def __init__(self, *lives: Life) -> None:
        self.begun: list[Begun] = []
        self.sessions: list[FakeSession] = []
        self.stop = trio.Event()
        self.exchange_limits = venue_of()
        self.dice = random.Random(7)
        self.segment_starts = SegmentStarts()
        self.whole_books = True
        self._lives = iter(lives)

    def create(self, given: LineContext, *, number: int, topics: list[Topic]) -> "FakeSession":
        self.begun.append(Begun(elapsed_s(), number, topics, given.line))
        assert given.timeouts.keys() >= set(topics)
        session = FakeSession(next(self._lives), self.stop, given.arbiter, given.snapshots, number)
        self.sessions.append(session)
        return session

    def delays(self, *lasted_s: float) -> list[float]:
        """Return how long the feed waited after each session."""
        starts = [begun.at for begun in self.begun]
        ends = [start + lasted for start, lasted in zip(starts, lasted_s, strict=False)]
        return [start - end for start, end in zip(starts[1:], ends, strict=False)]

    async def run(self, connection: ConnectionPlan) -> None:
        """Run the feed until it ends, and check that it has closed its way to the writer."""
        context = FeedContext(
            websocket=WebsocketSection(
                initial_retry_delay_secs=INITIAL_S,
                max_retry_delay_secs=LONGEST_S,
                whole_books=self.whole_books,
            ),
            budget=ByteBudget(1),
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            exchange_limits={"scripted": self.exchange_limits},
            drifts={},
            segment_starts=self.segment_starts,
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

    def __init__(
        self,
        life: Life,
        stop: trio.Event,
        arbiter: LineArbiter,
        snapshots: BookSnapshots,
        number: int,
    ) -> None:
        self.arbiter = arbiter
        self.snapshots = snapshots
        self.number = number
        self.carried_s = life.carried_s
        self.refused = set(life.refused)
        self.wants_handover = trio.Event()
        self.relieved: list[int] = []  # the numbers of those that it has relieved
        self.needed: list[Topic] = []  # books
        self.ended_at = FOREVER
        self._life = life
        self._stop = stop
        self._began = elapsed_s()
        self._ended = trio.Event()
        self._ending = SessionEnded(life.reason, retry_after_s=life.retry_after_s, code=life.code)

    def end(self, ending: SessionEnded) -> None:
        if not self._ended.is_set():
            self._ending = ending
            self._ended.set()

    @property
    def handover_reason(self) -> SessionEnded | None:
        return SessionEnded(EndReason.HANDOVER) if self.wants_handover.is_set() else None

    def lags(self, _other: "FakeSession") -> list[Topic]:
        return [BTC] if elapsed_s() < self._began + self._life.carries_s else []

    def record_handover(self, other: "FakeSession") -> None:
        self.relieved.append(other.number)

    def request_book(self, topic: Topic) -> None:
        self.needed.append(topic)

    async def run(self) -> SessionEnded:
        if self._life.reason == EndReason.STOPPED:
            self._stop.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_stop)
            nursery.start_soon(self._ask_handover)
            with trio.move_on_after(self._life.lasted_s):
                await self._ended.wait()
            nursery.cancel_scope.cancel()
        self.ended_at = elapsed_s()
        return self._ending

    async def _watch_stop(self) -> None:
        await self._stop.wait()
        self.end(SessionEnded(EndReason.STOPPED))

    async def _ask_handover(self) -> None:
        await trio.sleep(self._life.asks_relief_s)
        self.wants_handover.set()


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Lives]:
    """Make the sessions of a feed live as told; the one after them is the end of the collector."""

    def make(*lives: Life) -> Lives:
        sessions = Lives(*lives, Life(EndReason.STOPPED))
        monkeypatch.setattr(task, "Session", sessions.create)
        return sessions

    return make


Live = Callable[..., Lives]


async def test_sessions_follow_on_each_other(autojump_clock: MockClock, live: Live) -> None:
    """After each end comes the next session, with the next number, until the collector stops."""
    reconnects = metrics.websocket_reconnects.labels("scripted", "btc")
    before = metrics.total(reconnects)
    sessions = live(*[Life(reason) for reason in EndReason if reason != EndReason.STOPPED])
    await sessions.run(make_connection("trade btc", "orderbook btc"))
    count = len(EndReason)
    assert [begun.number for begun in sessions.begun] == list(range(1, count + 1))
    assert metrics.total(reconnects) == before + count - 1  # once for each market


async def test_failures_back_off(autojump_clock: MockClock, live: Live) -> None:
    """The delay doubles from the first to the longest, give or take a quarter, and goes on."""
    sessions = live(*[Life(EndReason.CONNECT_FAILED)] * 12)
    await sessions.run(make_connection())
    delays = sessions.delays(*[0.0] * 12)
    for number, delay_s in enumerate(delays):
        middle_s = min(INITIAL_S * 2**number, LONGEST_S / (1 + JITTER))
        assert middle_s * (1 - JITTER) <= delay_s <= middle_s * (1 + JITTER)
    assert max(delays) <= LONGEST_S


async def test_only_a_healthy_session_resets_the_delay(
    autojump_clock: MockClock, live: Live
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


async def test_a_session_is_relieved(
    autojump_clock: MockClock, live: Live, nursery: trio.Nursery
) -> None:
    """The next session is begun beside the first, which ends when the next carries its topics."""
    sessions = live(Life(lasted_s=FOREVER, asks_relief_s=1000), Life(lasted_s=FOREVER, carries_s=5))
    nursery.start_soon(sessions.run, make_connection())
    await trio.sleep(2000)
    first, second = sessions.sessions
    assert [begun.at for begun in sessions.begun] == [0, 1000]
    assert first.ended_at == pytest.approx(1005, abs=0.2)
    assert second.ended_at == FOREVER
    assert second.relieved == [1]
    sessions.stop.set()


async def test_a_relief_that_fails(
    autojump_clock: MockClock, live: Live, nursery: trio.Nursery
) -> None:
    """The first session stays, and another one is tried, ever more seldom, until one carries."""
    sessions = live(
        Life(lasted_s=FOREVER, asks_relief_s=1000),
        Life(EndReason.CONNECT_FAILED, lasted_s=1, carries_s=FOREVER),
        Life(EndReason.CONNECT_FAILED, lasted_s=1, carries_s=FOREVER),
        Life(lasted_s=FOREVER, carries_s=FOREVER),
        Life(lasted_s=FOREVER, carries_s=1),
    )
    nursery.start_soon(sessions.run, make_connection())
    await trio.sleep(3000)
    starts = [begun.at - 1000 for begun in sessions.begun[1:]]
    assert starts == pytest.approx([0, 2, 5, 5 + HANDOVER_S + 4], rel=0.25)
    assert [session.ended_at < 3000 for session in sessions.sessions] == [True] * 4 + [False]
    assert sessions.sessions[0].ended_at == pytest.approx(sessions.begun[-1].at + 1, abs=0.2)
    assert sessions.sessions[-1].relieved == [1]
    sessions.stop.set()


async def test_a_session_that_ends_before_it_is_relieved(
    autojump_clock: MockClock, live: Live, nursery: trio.Nursery
) -> None:
    """What was to relieve it is then the next session, without any delay."""
    sessions = live(
        Life(lasted_s=1001, asks_relief_s=1000), Life(lasted_s=FOREVER, carries_s=FOREVER)
    )
    nursery.start_soon(sessions.run, make_connection())
    await trio.sleep(3000)
    assert [begun.at for begun in sessions.begun] == [0, 1000]
    assert sessions.sessions[1].ended_at == FOREVER
    assert sessions.sessions[1].relieved == []
    sessions.stop.set()


async def test_an_exchange_that_always_announces_its_end(
    autojump_clock: MockClock, live: Live, nursery: trio.Nursery
) -> None:
    """Where every session is to be relieved as soon as it is open, the feed backs off."""
    sessions = live(*[Life(lasted_s=FOREVER, asks_relief_s=1)] * 100)
    nursery.start_soon(sessions.run, make_connection())
    await trio.sleep(1000)
    assert len(sessions.begun) < 40
    sessions.stop.set()


async def test_who_is_cut_off_connects_before_who_is_relieved(
    autojump_clock: MockClock, live: Live, nursery: trio.Nursery
) -> None:
    """Of two that wait for their turn, the one without data goes first, though it asks later."""
    forever = [Life(lasted_s=FOREVER)] * 3
    sessions = live(Life(lasted_s=FOREVER, asks_relief_s=250), Life(lasted_s=190), *forever)
    sessions.exchange_limits = venue_of(Rate(1, 100.0))
    for topic in ("trade btc", "trade eth"):  # they connect at 0 s and 110 s
        nursery.start_soon(sessions.run, make_connection(topic))
        await wait_all_tasks_blocked()
    await trio.sleep(120)
    await sessions.exchange_limits.wait_to_connect(0.0)  # somebody else takes the turn at 220 s
    await trio.sleep(300)
    assert [begun.topics for begun in sessions.begun] == [[BTC], [ETH], [ETH], [BTC]]
    assert sessions.begun[2].at == pytest.approx(330)
    sessions.stop.set()


async def test_two_legs(autojump_clock: MockClock, live: Live, nursery: trio.Nursery) -> None:
    """Two sessions live side by side with one arbiter; when one ends, the other stays."""
    sessions = live(Life(lasted_s=FOREVER), Life(lasted_s=100), Life(lasted_s=FOREVER))
    connection = msgspec.structs.replace(make_connection(), lines=2)
    reconnects = metrics.websocket_reconnects.labels("scripted", "btc")
    before = metrics.total(reconnects)
    nursery.start_soon(sessions.run, connection)
    await trio.sleep(1000)
    assert [begun.number for begun in sessions.begun] == [1, 2, 3]
    first, second, third = (begun.line for begun in sessions.begun)
    assert {first, second} == {0, 1}
    assert third == second
    assert sessions.sessions[0].ended_at == FOREVER
    assert len({id(session.arbiter) for session in sessions.sessions}) == 1
    assert metrics.total(reconnects) == before + 1
    sessions.stop.set()


async def test_a_ban_holds_for_all(
    autojump_clock: MockClock, live: Live, nursery: trio.Nursery
) -> None:
    """An address that is told to stay away connects for no other feed, either."""
    banned = Life(EndReason.REJECTED_HANDSHAKE, code=418, retry_after_s=600)
    sessions = live(banned, Life(lasted_s=10), *[Life(lasted_s=FOREVER)] * 2)
    for _ in range(2):
        nursery.start_soon(sessions.run, make_connection())
    await trio.sleep(1000)
    assert [begun.at < 600 for begun in sessions.begun] == [True, True, False, False]
    sessions.stop.set()


async def test_a_file_that_begins_without_its_book(
    autojump_clock: MockClock, live: Live, nursery: trio.Nursery
) -> None:
    """The book is asked for when a segment has begun without one, and only then."""
    sessions = live(Life(lasted_s=FOREVER))
    connection = make_connection("orderbook btc", "trade btc", has_incremental_books=True)
    nursery.start_soon(sessions.run, connection)
    await trio.sleep(1)
    (session,) = sessions.sessions
    book, stream = Topic("btc", DataType.ORDERBOOK), Stream("scripted", "btc", DataType.ORDERBOOK)
    session.snapshots.record(book, 100)
    sessions.segment_starts.tell(stream, 100)
    sessions.segment_starts.tell(stream._replace(data_type=DataType.TRADE), 200)
    assert session.needed == []
    sessions.segment_starts.tell(stream, 101)
    assert session.needed == [book]
    sessions.stop.set()


async def test_whole_books_are_turned_off(
    autojump_clock: MockClock, live: Live, nursery: trio.Nursery
) -> None:
    """With `whole_books = false` a file begins as it comes."""
    sessions = live(Life(lasted_s=FOREVER))
    sessions.whole_books = False
    connection = make_connection("orderbook btc", has_incremental_books=True)
    nursery.start_soon(sessions.run, connection)
    await trio.sleep(1)
    sessions.segment_starts.tell(Stream("scripted", "btc", DataType.ORDERBOOK), 101)
    assert sessions.sessions[0].needed == []
    sessions.stop.set()


async def test_retry_after_is_heeded(autojump_clock: MockClock, live: Live) -> None:
    """What the exchange asks for outranks the longest delay; less than the delay changes nothing."""
    rejected = EndReason.REJECTED_HANDSHAKE
    sessions = live(Life(rejected, retry_after_s=300), Life(rejected, retry_after_s=0.01))
    await sessions.run(make_connection())
    long_s, short_s = sessions.delays(0, 0)
    assert long_s == 300
    assert short_s >= 2 * INITIAL_S * (1 - JITTER)


async def test_refused_topics_are_left_out(autojump_clock: MockClock, live: Live) -> None:
    """A topic that was refused is not asked for in later sessions."""
    sessions = live(Life(refused=frozenset({ETH})), Life())
    await sessions.run(make_connection("trade btc", "trade eth"))
    assert [begun.topics for begun in sessions.begun] == [[BTC, ETH], [BTC], [BTC]]


async def test_when_all_is_refused_all_is_tried_again(
    autojump_clock: MockClock, live: Live
) -> None:
    """With nothing left to ask for, everything is asked for again after the longest delay."""
    failed = EndReason.SUBSCRIBE_FAILED
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


async def test_what_a_session_leaves_to_the_next(autojump_clock: MockClock, live: Live) -> None:
    """The ids of streams are kept over sessions, the count of a connection's frames is not."""
    sessions = live(Life(lasted_s=10))
    await sessions.run(make_connection())
    first, second = (each.arbiter.open_source(lambda: None) for each in sessions.sessions)
    assert first.check_connection(ConnectionSequence(7)) is None
    assert second.check_connection(ConnectionSequence(0)) is None
    trades = DataType.TRADE
    assert first.continuity_of(trades).check(Event("btc", trades, "5", None, 4, 5)) is None
    gap = second.continuity_of(trades).check(Event("btc", trades, "9", None, 8, 9))
    assert gap == Gap(5, 8, 3)


async def test_connects_share_the_exchanges_limit(
    autojump_clock: MockClock, live: Live, nursery: trio.Nursery
) -> None:
    """All feeds of an exchange together connect no faster than it allows."""
    sessions = live(*[Life(lasted_s=math.inf)] * 5)
    sessions.exchange_limits = venue_of(Rate(2, 1.0))
    for _ in range(5):
        nursery.start_soon(sessions.run, make_connection())
    await trio.sleep(10)
    starts = [begun.at for begun in sessions.begun]
    assert len(starts) == 5
    assert all(third - first > 1.0 for first, third in zip(starts, starts[2:], strict=False))
    sessions.stop.set()


async def test_reliefs_keep_to_the_limit_too(
    autojump_clock: MockClock, live: Live, nursery: trio.Nursery
) -> None:
    """To relieve a session takes a connect, which waits for its turn."""
    sessions = live(*[Life(lasted_s=FOREVER, asks_relief_s=HEALTHY_S)] * 10)
    sessions.exchange_limits = venue_of(Rate(1, 100.0))
    nursery.start_soon(sessions.run, make_connection())
    await trio.sleep(250)
    starts = [begun.at for begun in sessions.begun]
    assert len(starts) == 3
    assert all(later - earlier > 100 for earlier, later in pairwise(starts))
    sessions.stop.set()


@pytest.mark.parametrize(
    ("lives", "stops_at"),
    [
        ([Life(lasted_s=math.inf)], 5.0),  # in a session
        ([Life(EndReason.REJECTED_HANDSHAKE, retry_after_s=1e6)], 5.0),  # between two
    ],
)
async def test_a_stop_ends_the_feed(
    autojump_clock: MockClock,
    live: Live,
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
    assert elapsed_s() == stops_at
    assert len(sessions.begun) == 1


async def test_a_stop_before_the_first_session(autojump_clock: MockClock, live: Live) -> None:
    """A feed that waits for its first connect when the stop comes never connects."""
    sessions = live()
    sessions.exchange_limits = venue_of(Rate(1, 100.0))
    await sessions.exchange_limits.wait_to_connect(0)
    sessions.stop.set()
    await sessions.run(make_connection())
    assert sessions.begun == []
