"""Of what several sessions bring, one copy is kept, and a hole is one that nobody has filled."""

import pytest

from tests.support.scripted_exchange import make_connection
from trio_collector.events import ConnectionSequence, DataType, Event, Topic
from trio_collector.feed.continuity.arbitration import (
    GRACE_S,
    IDS,
    LATE_S,
    MARGIN_S,
    ArbiterSource,
    LineArbiter,
    Verdict,
)
from trio_collector.feed.continuity.sequence import Gap, SequenceFinding
from trio_collector.feed.decoder import FrameDecoder
from trio_collector.feed.planning.connections import ConnectionPlan

TRADE, BOOK = Topic("btc", DataType.TRADE), Topic("btc", DataType.ORDERBOOK)


class FakeExchange:
    """Sessions of one connection; the ids of trades are alike on all of them, those of books not."""

    def __init__(self, connection: ConnectionPlan) -> None:
        self.now = 100.0
        self.connection = connection
        self.arbiter = LineArbiter({DataType.TRADE}, {DataType.TRADE}, lambda: self.now)

    def join(self) -> "Session":
        return Session(self)


class Session:
    """One session: what it reads, and what is kept of it."""

    def __init__(self, exchange: FakeExchange) -> None:
        self.nudges = 0
        self.source: ArbiterSource = exchange.arbiter.open_source(self._nudge)
        self._reader = FrameDecoder(
            exchange.connection.adapter, list(exchange.connection.topics), self.source
        )
        self.source.enter(exchange.connection.topics)
        self.findings: list[SequenceFinding] = []

    def _nudge(self) -> None:
        self.nudges += 1

    def read(self, *frames: str) -> list[str]:
        """Return the frames that are kept after this read."""
        rows = self._reader.decode(7, [frame.encode() for frame in frames])
        self.findings += rows.findings
        return [frame.decode() for batch in rows.batches for frame in batch.frames]


@pytest.fixture
def exchange() -> FakeExchange:
    return FakeExchange(make_connection("trade btc", "orderbook btc"))


def test_alone_everything_is_kept(exchange: FakeExchange) -> None:
    """One session is not judged: an id that comes twice is a row, and told."""
    alone = exchange.join()
    assert alone.read("trade btc 1", "trade btc 1") == ["trade btc 1", "trade btc 1"]


def test_same_ids_are_kept_once(exchange: FakeExchange) -> None:
    """Whoever is first brings a message; the other's copy is dropped, whatever the order."""
    a, b = exchange.join(), exchange.join()
    assert a.read("trade btc 1", "trade btc 2") == ["trade btc 1", "trade btc 2"]
    assert b.read("trade btc 1", "trade btc 2", "trade btc 3") == ["trade btc 3"]
    assert a.read("trade btc 3", "trade btc 4") == ["trade btc 4"]
    assert a.findings == b.findings == []


def test_an_id_repeated_on_purpose(exchange: FakeExchange) -> None:
    """What one session brings twice is kept twice; the other's copies are dropped."""
    a, b = exchange.join(), exchange.join()
    assert a.read("trade btc 1", "trade btc 1") == ["trade btc 1", "trade btc 1"]
    assert b.read("trade btc 1", "trade btc 1") == []


def test_what_one_misses_the_other_brings(exchange: FakeExchange) -> None:
    """A hole that is filled in time is none."""
    a, b = exchange.join(), exchange.join()
    a.read("trade btc 1", "trade btc 5")
    assert b.read("trade btc 1", "trade btc 2", "trade btc 3", "trade btc 4") == [
        "trade btc 2",
        "trade btc 3",
        "trade btc 4",
    ]
    exchange.now += GRACE_S + 1
    a.read("trade btc 6")
    assert a.findings == b.findings == []


def test_frames_that_are_cut_differently(exchange: FakeExchange) -> None:
    """A message with a known id is kept if it holds what is missing."""
    a, b = exchange.join(), exchange.join()
    a.read("trade btc 1", "trade btc 5")
    assert b.read("trade btc 1", "span trade btc 2 5") == ["span trade btc 2 5"]
    exchange.now += GRACE_S
    a.read()
    assert a.findings == b.findings == []
    assert b.read("span trade btc 4 5") == []


def test_a_message_that_spans_a_gap_fills_it(exchange: FakeExchange) -> None:
    """One that begins before what is missing and reaches beyond what was there leaves no gap."""
    a, b = exchange.join(), exchange.join()
    a.read("trade btc 1", "trade btc 5")
    assert b.read("trade btc 1", "span trade btc 2 7") == ["span trade btc 2 7"]
    exchange.now += GRACE_S
    a.read()
    b.read()
    assert a.findings == b.findings == []


def test_a_hole_that_nobody_fills(exchange: FakeExchange) -> None:
    """What is still missing after a while is told, with the time at which it was found."""
    a, b = exchange.join(), exchange.join()
    a.read("trade btc 1", "trade btc 6")
    b.read("trade btc 3", "trade btc 4")
    assert a.findings == b.findings == []
    exchange.now += GRACE_S
    b.read()
    assert b.findings == [
        SequenceFinding(TRADE, Gap(1, 2, 1), 7),
        SequenceFinding(TRADE, Gap(4, 5, 1), 7),
    ]


def test_a_hole_is_told_when_the_other_leaves(exchange: FakeExchange) -> None:
    """Alone, nobody is waited for."""
    a, b = exchange.join(), exchange.join()
    a.read("trade btc 1", "trade btc 3")
    b.source.leave()
    assert a.nudges > 0
    a.read()
    assert a.findings == [SequenceFinding(TRADE, Gap(1, 2, 1), 7)]


def test_a_hole_over_a_change_of_sessions(exchange: FakeExchange) -> None:
    """Ids that outlive a connection prove what was missed between two sessions."""
    a = exchange.join()
    a.read("trade btc 1")
    assert a.source.leave()
    b = exchange.join()
    b.read("trade btc 4")
    assert b.findings == [SequenceFinding(TRADE, Gap(1, 3, 2))]


def test_a_hole_over_a_reconnect_is_found(exchange: FakeExchange) -> None:
    """Ids that outlive a connection tell what was missed between two sessions."""
    first, second = (exchange.arbiter.open_source(lambda: None) for _ in range(2))
    trades = DataType.TRADE
    first.continuity_of(trades).check(Event("btc", trades, "1", None, 0, 1))
    found = second.continuity_of(trades).check(Event("btc", trades, "5", None, 4, 5))
    assert found == Gap(1, 4, 3)


def test_a_new_connection_counts_anew(exchange: FakeExchange) -> None:
    """The first number of a session is taken as it comes."""
    first, second = (exchange.arbiter.open_source(lambda: None) for _ in range(2))
    first.check_connection(ConnectionSequence(7))
    assert second.check_connection(ConnectionSequence(0)) is None
    assert second.check_connection(ConnectionSequence(1)) is None


def test_without_same_ids_one_leads(exchange: FakeExchange) -> None:
    """The copy of the session that does not lead is held back, and forgotten in time."""
    a, b = exchange.join(), exchange.join()
    for number in range(20):
        assert a.read(f"orderbook btc {number}") == [f"orderbook btc {number}"]
        assert b.read(f"orderbook btc {number}") == []
        exchange.now += 0.5
    b.source.leave()
    assert a.read("orderbook btc 20") == ["orderbook btc 20"]
    assert a.findings == b.findings == []


def test_when_the_leader_leaves(exchange: FakeExchange) -> None:
    """The other goes on with what the leader may not have had: nothing is missing."""
    a, b = exchange.join(), exchange.join()
    stored = []
    for number in range(20):
        stored += a.read(f"orderbook btc {number}")
        b.read(f"orderbook btc {number}")
        exchange.now += 0.5
    b.read("orderbook btc 20", "orderbook btc 21")
    a.source.leave()
    assert b.nudges == 1  # for all that is released
    stored += b.read()
    steps = int(MARGIN_S / 0.5)
    held_back = [f"orderbook btc {number}" for number in range(19 - steps, 22)]
    assert stored == [f"orderbook btc {number}" for number in range(20)] + held_back
    assert b.read("orderbook btc 22") == ["orderbook btc 22"]


def test_when_the_leader_falls_silent(exchange: FakeExchange) -> None:
    """Who brings what the leader does not have for a while, leads."""
    a, b = exchange.join(), exchange.join()
    a.read("orderbook btc 0")
    b.read("orderbook btc 0")
    stored: list[str] = []
    number = 0
    while not stored:
        number += 1
        exchange.now += 0.5
        stored = b.read(f"orderbook btc {number}")
    assert stored == [f"orderbook btc {n}" for n in range(number + 1)]
    assert number * 0.5 == pytest.approx(MARGIN_S + LATE_S + 0.5)
    assert a.read(f"orderbook btc {number}") == []


def test_quiet_topics_change_no_leader(exchange: FakeExchange) -> None:
    """A message now and then, first over the one that does not lead, is no sign of silence."""
    a, b = exchange.join(), exchange.join()
    for number in range(20):
        assert b.read(f"orderbook btc {number}") == []
        exchange.now += 0.1
        assert a.read(f"orderbook btc {number}") == [f"orderbook btc {number}"]
        exchange.now += 10 * LATE_S


def test_a_gap_counts_where_it_leads(exchange: FakeExchange) -> None:
    """What a session misses that is held back, nobody misses."""
    own = LineArbiter((), {DataType.TRADE}, lambda: exchange.now)
    exchange.arbiter = own
    a, b = exchange.join(), exchange.join()
    a.read("trade btc 1", "trade btc 2", "trade btc 3")
    b.read("trade btc 1", "trade btc 3")
    a.read("trade btc 5")
    assert a.findings == [SequenceFinding(TRADE, Gap(3, 4, 1))]
    assert b.findings == []
    a.source.leave()
    b.read()
    assert b.findings == [SequenceFinding(TRADE, Gap(1, 2, 1), 7)]


def test_connection_counts_concern_what_it_leads(exchange: FakeExchange) -> None:
    """A frame that one connection lost is missing where nobody else brings it."""
    a, b = exchange.join(), exchange.join()
    assert a.source.owned([TRADE, BOOK]) == [BOOK]
    assert b.source.owned([TRADE, BOOK]) == []
    a.source.leave()
    assert b.source.owned([TRADE, BOOK]) == [TRADE, BOOK]


def test_a_fresh_start_is_kept_from_everyone(exchange: FakeExchange) -> None:
    """A whole book is a row over whichever session it came."""
    a, b = exchange.join(), exchange.join()
    a.read("orderbook btc 1")
    assert b.read("reset orderbook btc 9") == ["reset orderbook btc 9"]
    assert b.read("orderbook btc 10") == []
    assert a.read("reset trade btc 9") == ["reset trade btc 9"]
    assert b.read("reset trade btc 9") == ["reset trade btc 9"]


def test_three_sessions(exchange: FakeExchange) -> None:
    """While one of two is being relieved there are three; each message is kept once."""
    a, b, c = exchange.join(), exchange.join(), exchange.join()
    assert a.read("trade btc 1", "orderbook btc 1") == ["trade btc 1", "orderbook btc 1"]
    assert b.read("trade btc 1", "orderbook btc 1", "trade btc 2") == ["trade btc 2"]
    assert c.read("trade btc 2", "orderbook btc 1", "trade btc 3") == ["trade btc 3"]
    assert not a.source.leave()
    assert b.read() == ["orderbook btc 1"]
    assert c.read("orderbook btc 2") == []
    assert not b.source.leave()
    assert c.read() == ["orderbook btc 1", "orderbook btc 2"]
    assert c.source.leave()


def test_unparsed_rows_are_kept_from_everyone(exchange: FakeExchange) -> None:
    """What nobody can read cannot be known to be the same."""
    a, b = exchange.join(), exchange.join()
    assert a.read("?") == b.read("?") == ["?"]


def test_each_connection_has_its_own_ids_where_they_are_not_alike(exchange: FakeExchange) -> None:
    """What one connection has reached proves nothing about another."""
    first, second = (exchange.arbiter.open_source(lambda: None) for _ in range(2))
    books = DataType.ORDERBOOK
    first.continuity_of(books).check(Event("btc", books, "1", None, 0, 1))
    assert second.continuity_of(books).check(Event("btc", books, "5", None, 4, 5)) is None
    assert (first.reached(BOOK), second.reached(BOOK)) == (1, 5)


def test_a_reached_id_outlives_the_session_where_ids_are_alike(exchange: FakeExchange) -> None:
    """A book that is fetched again may be no older than what any session has brought."""
    a = exchange.join()
    assert a.source.reached(TRADE) is None
    a.read("trade btc 4")
    a.source.leave()
    assert exchange.join().source.reached(TRADE) == 4


def test_a_connection_that_skips_a_number_lost_a_frame(exchange: FakeExchange) -> None:
    """It is told as a gap of this connection."""
    source = exchange.join().source
    source.check_connection(ConnectionSequence(7))
    assert source.check_connection(ConnectionSequence(9)) == Gap(8, 9, 1)


def test_ids_of_an_earlier_handover_are_forgotten(exchange: FakeExchange) -> None:
    """An exchange that begins its ids anew between two handovers loses nothing by it."""
    a, b = exchange.join(), exchange.join()
    a.read("trade btc 1")
    b.source.leave()
    c = exchange.join()
    assert c.read("trade btc 1") == ["trade btc 1"]


def test_a_third_session_knows_what_the_others_brought(exchange: FakeExchange) -> None:
    """Copies are told from the first two sessions on, and the leader stays."""
    a, b = exchange.join(), exchange.join()
    a.read("trade btc 1")
    a.source.leave()
    exchange.join()
    b.read("trade btc 2")
    d = exchange.join()
    assert d.read("trade btc 2", "orderbook btc 1") == []
    assert b.read("orderbook btc 1") == ["orderbook btc 1"]


def test_messages_without_an_id_are_kept_from_everyone(exchange: FakeExchange) -> None:
    """Nothing tells that two of them are the same."""
    event = Event("btc", DataType.TRADE, "", None)
    for session in (exchange.join(), exchange.join()):
        assert session.source.judge(event, 7) == (Verdict.KEEP, None)


@pytest.mark.parametrize(("ids", "verdict"), [(2 * IDS, Verdict.DROP), (2 * IDS + 1, Verdict.KEEP)])
def test_so_many_ids_are_remembered(exchange: FakeExchange, ids: int, verdict: Verdict) -> None:
    """The oldest id of a topic is forgotten with the first behind twice IDS."""
    a, b = exchange.join(), exchange.join()
    events = [Event("btc", DataType.TRADE, str(number), None) for number in range(ids)]
    assert {a.source.judge(event, 7)[0] for event in events} == {Verdict.KEEP}
    assert b.source.judge(events[0], 7)[0] is verdict
    assert b.source.judge(events[-IDS], 7)[0] is Verdict.DROP


def test_a_leader_has_time_from_the_handover_on(exchange: FakeExchange) -> None:
    """What comes within the margin of the other's start, the leader may have brought before."""
    _, b = exchange.join(), exchange.join()
    exchange.now += MARGIN_S / 2
    assert b.read("orderbook btc 1") == []
    exchange.now += LATE_S
    assert b.read("orderbook btc 2") == []


def test_a_new_leader_has_time_as_well(exchange: FakeExchange) -> None:
    """Who has just begun to lead does not lose it to what comes a moment later."""
    a, b = exchange.join(), exchange.join()
    exchange.now += MARGIN_S + 1
    b.read("orderbook btc 1")
    exchange.now += LATE_S
    assert b.read("orderbook btc 2") == ["orderbook btc 1", "orderbook btc 2"]
    exchange.now += MARGIN_S / 2
    assert a.read("orderbook btc 2") == []
    exchange.now += LATE_S
    assert a.read("orderbook btc 3") == []


def test_who_leaves_gives_up_what_it_leads_alone() -> None:
    """The topics of other leaders stay with these."""
    exchange = FakeExchange(make_connection("orderbook btc", "orderbook eth"))
    a, b, c = exchange.join(), exchange.join(), exchange.join()
    exchange.now += MARGIN_S + 1
    a.read("orderbook btc 1")
    b.read("orderbook eth 1")
    exchange.now += LATE_S
    assert b.read("orderbook eth 2") == ["orderbook eth 1", "orderbook eth 2"]
    assert c.source.leave() is False
    assert a.read("orderbook eth 2") == []
    assert b.read("orderbook eth 3") == ["orderbook eth 3"]


def test_who_never_took_part_may_leave(exchange: FakeExchange) -> None:
    """A session that ends before it is connected ends nothing of the others."""
    stranger = exchange.arbiter.open_source(lambda: None)
    assert stranger.leave() is True
    a = exchange.join()
    assert stranger.leave() is False
    assert a.nudges == 0
    assert a.source.leave() is True
