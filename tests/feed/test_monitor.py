"""What came with each read, and what did not come, decides how a session stands."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from tests.support.scripted_exchange import make_connection
from trio_collector.errors import SessionEnded
from trio_collector.events import Ack, DataType, Topic
from trio_collector.exchanges.adapter import SubscribeRequest
from trio_collector.feed.actions import Action, End, Fetch, Found, HandOver, Send, Subscribed
from trio_collector.feed.books.resync import RESYNC_S
from trio_collector.feed.books.snapshots import BookSnapshots
from trio_collector.feed.continuity.arbitration import LineArbiter
from trio_collector.feed.continuity.sequence import Gap, SequenceFinding
from trio_collector.feed.decoder import Decoded, FrameDecoder
from trio_collector.feed.monitor import ACK_S, SETTLE_S, SessionMonitor
from trio_collector.feed.planning.connections import ConnectionPlan
from trio_collector.feed.session_log import SessionLog
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.telemetry import metrics

READ_US = 5_000


class Desk:
    """A session without its tasks: frames come in, requests go out, at the time that `now` says."""

    def __init__(self, connection: ConnectionPlan) -> None:
        topics = list(connection.topics)
        self.now = 0.0
        self.ledger = SessionLog(connection, topics, lambda: 0, number=1)
        self.ending: SessionEnded | None = None
        self.handovers = 0  # how often a successor was asked for
        self.requests: list[SubscribeRequest] = []
        self._fetches: list[Topic] = []
        arbiter = LineArbiter((), frozenset(DataType), lambda: self.now)
        source = arbiter.open_source(lambda: None)
        source.enter(topics)
        self.snapshots = BookSnapshots()
        self.monitor = SessionMonitor(
            connection, topics, source, self.snapshots, connection.open_timeouts(), 0
        )
        self._reader = FrameDecoder(connection.adapter, topics, source)
        self.requests += self.monitor.start(0)

    def send(self) -> list[str]:
        """Send the requests that are due; return their texts."""
        requests, self.requests = self.requests, []
        for request in requests:
            self.monitor.record_request(request, self.now)
            self.perform(self.monitor.record_sent(request, self.now))
        return [request.text for request in requests]

    def read(self, *frames: str) -> None:
        decoded = self._reader.decode(READ_US, [frame.encode() for frame in frames])
        self.perform(self.monitor.observe(decoded, READ_US, self.now))

    def miss_data(self, now: float) -> None:
        """Let the time come to look for topics without data."""
        self.perform(self.monitor.check_staleness(now))

    def miss_acks(self, now: float) -> None:
        """Let the time come to look for requests without an answer."""
        self.perform(self.monitor.check_acks(now))

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(request):
                    self.requests.append(request)
                case Fetch(topic):
                    self._fetches.append(topic)
                case HandOver():
                    self.handovers += 1
                case End(ending):
                    assert self.ending is None
                    self.ending = ending
                case _:
                    self.ledger.record(action)

    def take_fetches(self) -> list[Topic]:
        """Return the books that are to be fetched, since the last call."""
        fetches, self._fetches = self._fetches, []
        return fetches

    def told(self) -> list[str]:
        """Return the events of the ledger since the last call, as `subscribed trade btc`."""
        rows = [(batch.stream, orjson.loads(batch.frames[0])) for batch in self.ledger.flush()]
        return [f"{row['event']} {row['data_type']} {stream.symbol}" for stream, row in rows]

    def reason(self) -> str | None:
        return None if self.ending is None else self.ending.reason


@pytest.fixture
def open_desk() -> Callable[..., Desk]:
    """Start a session for topics, with its first requests sent."""

    def open_(*topics: str, **traits: Any) -> Desk:
        desk = Desk(make_connection(*topics, **traits))
        desk.send()
        return desk

    return open_


OpenDesk = Callable[..., Desk]


def test_acked_topics_are_subscribed(open_desk: OpenDesk) -> None:
    """What the exchange grants is noted once, at the time of the read that says so."""
    desk = open_desk("trade btc", "orderbook btc")
    desk.read("ack 1", "ack 1")
    assert desk.told() == ["subscribed trade btc", "subscribed orderbook btc"]


def test_without_acks_asking_subscribes(open_desk: OpenDesk) -> None:
    """Where the exchange does not answer, a topic is subscribed when it was asked for."""
    desk = open_desk("trade btc", sends_acks=False)
    assert desk.told() == ["subscribed trade btc"]
    desk.read("trade btc 1")
    assert desk.told() == ["live trade btc"]


def test_first_data_is_live_once(open_desk: OpenDesk) -> None:
    """The first data of each topic is noted, with the time of its own read."""
    desk = open_desk("trade btc", "trade eth")
    desk.read("ack 1", "trade btc 1", "trade btc 2")
    desk.now = 20
    desk.read("trade btc 3", "trade eth 1")
    assert desk.told() == [
        "subscribed trade btc",
        "subscribed trade eth",
        "live trade btc",
        "live trade eth",
    ]
    desk.read("trade eth 2")
    assert desk.ledger.flush() == []
    assert desk.monitor.carried_s == 20


def test_data_stands_for_an_ack(open_desk: OpenDesk) -> None:
    """A topic whose data comes is subscribed, whether or not its ack can be read."""
    desk = open_desk("trade btc")
    desk.read("ack-in-a-new-format", "trade btc 1")
    assert desk.told() == ["subscribed trade btc", "live trade btc"]
    desk.miss_acks(ACK_S)
    assert desk.reason() is None


def test_a_refused_topic_leaves_the_others(open_desk: OpenDesk) -> None:
    """A refusal is `rejected`, not asked again and no longer missed; the session goes on."""
    desk = open_desk("trade btc", "trade bad", topics_per_request=1)
    desk.read("ack 1", "no 2 no such symbol")
    assert desk.told() == ["subscribed trade btc", "rejected trade bad"]
    assert desk.requests == []
    assert desk.monitor.wanted == [Topic("btc", DataType.TRADE)]
    desk.now = 80
    desk.read("trade btc 1")
    desk.miss_data(90)
    desk.miss_acks(90)
    assert desk.told() == ["live trade btc"]
    assert desk.reason() is None


def test_the_others_of_a_fallen_request_are_asked_again(open_desk: OpenDesk) -> None:
    """Where one bad topic refuses its whole request, the others are asked for in a new one."""
    desk = open_desk("trade btc", "trade bad", "trade eth")
    desk.read("fell trade bad no such symbol")
    assert desk.told() == ["rejected trade bad"]
    assert desk.send() == ["sub 2 trade btc, trade eth"]
    desk.read("ack 2")
    assert desk.told() == ["subscribed trade btc", "subscribed trade eth"]


def test_a_nameless_refusal_is_taken_apart(open_desk: OpenDesk) -> None:
    """A refusal of several that names none is no refusal yet: each is asked for alone."""
    desk = open_desk("trade btc", "trade bad")
    desk.read("no 1 something is wrong")
    assert desk.told() == []
    assert desk.send() == ["sub 2 trade btc", "sub 3 trade bad"]
    desk.read("ack 2", "no 3 something is wrong")
    assert desk.told() == ["subscribed trade btc", "rejected trade bad"]


def test_everything_refused_is_the_end(open_desk: OpenDesk) -> None:
    """A session that may have nothing ends, with the exchange's words."""
    desk = open_desk("trade btc", "trade eth", topics_per_request=1)
    desk.read("no 1 closed for today")
    assert desk.reason() is None
    desk.read("no 2 closed for today")
    assert desk.reason() == EndReason.SUBSCRIBE_FAILED
    assert desk.ending is not None
    assert desk.ending.detail == "closed for today"


def test_an_error_about_nothing_is_only_logged(open_desk: OpenDesk) -> None:
    """An error that concerns no subscription is a warning; nothing is given up for it."""
    desk = open_desk("trade btc")
    desk.read("ack 1")
    desk.told()
    with capture_logs() as entries:
        desk.read("no - too many questions")
    assert [entry["event"] for entry in entries] == ["exchange reports an error"]
    assert (desk.told(), desk.reason()) == ([], None)


def test_no_answer_names_the_topics(open_desk: OpenDesk) -> None:
    """A topic that is neither granted nor refused in time ends the session by name."""
    desk = open_desk("trade btc", "orderbook btc", topics_per_request=1)
    desk.read("ack 1")
    assert desk.monitor.next_ack_deadline(0) == ACK_S
    desk.miss_acks(ACK_S - 1)
    assert desk.reason() is None
    desk.miss_acks(ACK_S)
    assert desk.reason() == EndReason.SUBSCRIBE_FAILED
    assert "btc orderbook" in str(desk.ending)
    assert "btc trade" not in str(desk.ending)


def test_one_silent_topic_is_told_once(open_desk: OpenDesk) -> None:
    """A topic without data among others is `stale`, once; the session lives."""
    desk = open_desk("trade btc", "trade eth")
    desk.now = 60
    desk.read("ack 1", "trade btc 1")
    desk.told()
    for now in (90, 100, 110):
        desk.miss_data(now)
    assert desk.told() == ["stale trade eth"]
    assert desk.reason() is None


def test_all_silent_asks_for_relief(open_desk: OpenDesk) -> None:
    """When no topic has data, the session is to be relieved, and the time-out is counted."""
    timeouts = metrics.message_timeouts.labels("scripted", "btc")
    before = metrics.total(timeouts)
    desk = open_desk("trade btc", "orderbook btc")
    desk.read("ack 1", "beat")
    desk.told()
    assert desk.monitor.next_stale_deadline() == 90
    desk.miss_data(90)
    assert desk.told() == ["stale trade btc", "stale orderbook btc"]
    assert desk.reason() is None
    assert desk.monitor.handover_reason is not None
    assert desk.monitor.handover_reason.reason == EndReason.DATA_TIMEOUT
    assert desk.handovers == 1
    assert metrics.total(timeouts) == before + 1
    desk.read("trade btc 1")
    assert desk.monitor.handover_reason is None


def test_a_hole_in_a_connection_is_one_in_every_topic(open_desk: OpenDesk) -> None:
    """Where the exchange counts frames, a lost one may have been of any topic but refused ones."""
    desk = open_desk("trade btc", "orderbook btc", "trade bad", topics_per_request=1)
    desk.read("ack 1", "ack 2", "no 3 why", "seq 1; beat")
    desk.told()
    desk.read("seq 3; beat")
    assert desk.told() == ["gap trade btc", "gap orderbook btc"]


def test_half_unreadable_breaks(open_desk: OpenDesk) -> None:
    """The breaker ends the session once, however much comes after that."""
    breaks = metrics.circuit_breaks.labels("scripted")
    before = metrics.total(breaks)
    desk = open_desk("trade btc")
    desk.read("ack 1", *["trade btc 1"] * 49, *["?"] * 49)
    assert desk.reason() is None
    desk.told()
    desk.read("?")
    assert desk.reason() == EndReason.BREAKER
    desk.read("?")
    assert desk.told() == ["breaker trade btc"]
    assert metrics.total(breaks) == before + 1


def test_controls_and_foreign_messages_are_readable(open_desk: OpenDesk) -> None:
    """The breaker asks what could be read, not what was collected."""
    desk = open_desk("trade btc")
    desk.read("ack 1", *["beat"] * 60, *["odd ticker"] * 60, *["?"] * 100)
    assert desk.reason() is None


def test_an_announced_end_asks_for_relief(open_desk: OpenDesk) -> None:
    """A notice of the exchange ends nothing yet; it is kept in the exchange's words."""
    desk = open_desk("trade btc")
    desk.read("bye maintenance at noon")
    assert desk.reason() is None
    assert "maintenance at noon" in str(desk.monitor.handover_reason)


def test_the_first_reason_stands(open_desk: OpenDesk) -> None:
    """What follows on the end does not change its reason."""
    desk = open_desk("trade btc")
    desk.read("no 1 why")
    desk.miss_data(90)
    assert desk.reason() == EndReason.SUBSCRIBE_FAILED


BOOK = Topic("btc", DataType.ORDERBOOK)


def test_a_book_with_a_hole_is_begun_afresh(open_desk: OpenDesk) -> None:
    """It alone is unsubscribed and asked for again, its neighbours stay; until it comes, in a while
    once more.
    """
    desk = open_desk(
        "orderbook btc",
        "orderbook eth",
        "trade btc",
        has_incremental_books=True,
        has_unsubscribe=True,
    )
    desk.read("ack 1", "reset orderbook btc 1", "reset orderbook eth 1", "trade btc 1")
    assert desk.snapshots.has(BOOK)
    desk.read("orderbook btc 5", "trade btc 9", "orderbook eth 2")
    assert not desk.snapshots.has(BOOK)
    assert desk.send() == ["unsub 2 orderbook btc", "sub 3 orderbook btc"]
    desk.told()
    desk.read("ack 3", "orderbook btc 6")
    assert desk.told() == ["subscribed orderbook btc"]
    assert desk.requests == []
    desk.now = RESYNC_S
    desk.read("orderbook btc 7")
    assert desk.send() == ["unsub 4 orderbook btc", "sub 5 orderbook btc"]
    desk.read("ack 5", "reset orderbook btc 8")
    assert desk.snapshots.has(BOOK)
    desk.now *= 3
    desk.read("orderbook btc 9")
    assert desk.requests == []


def test_a_hole_in_a_connection_concerns_all_books(open_desk: OpenDesk) -> None:
    """Where only the connection tells of holes, each of its books may have one."""
    desk = open_desk(
        "orderbook btc", "orderbook eth", has_incremental_books=True, has_unsubscribe=True
    )
    desk.read("ack 1", "seq 1; beat", "seq 3; beat")
    assert desk.send() == [
        "unsub 2 orderbook btc, orderbook eth",
        "sub 3 orderbook btc, orderbook eth",
    ]


def test_books_that_are_fetched(open_desk: OpenDesk) -> None:
    """A book whose whole comes by HTTP is fetched when it goes live, and when it has a hole."""
    desk = open_desk(
        "orderbook btc", "trade btc", has_incremental_books=True, rest_url="http://x.test"
    )
    assert desk.take_fetches() == []
    desk.read("ack 1", "orderbook btc 1", "trade btc 1")
    assert desk.take_fetches() == [BOOK]
    desk.now = 1000
    desk.read("orderbook btc 2")
    assert desk.take_fetches() == []  # it is being tried
    desk.monitor.resync.record_snapshot(BOOK, 7)
    desk.read("orderbook btc 5")
    assert desk.take_fetches() == [BOOK]
    assert desk.requests == []


def test_a_silent_topic_is_asked_for_again(open_desk: OpenDesk) -> None:
    """One that fell silent among others gets a new subscription, once for each silence."""
    desk = open_desk("trade btc", "trade eth", has_unsubscribe=True)
    desk.read("ack 1", "trade btc 1", "trade eth 1")
    desk.now = 60
    desk.read("trade btc 2")
    desk.miss_data(90)
    assert desk.send() == ["unsub 2 trade eth", "sub 3 trade eth"]
    desk.miss_data(100)
    assert desk.requests == []


def test_who_lags_behind(open_desk: OpenDesk) -> None:
    """A session carries a topic with its first data; or when it was granted and no one has data."""
    old, new = open_desk("trade btc", "trade eth"), open_desk("trade btc", "trade eth")
    btc, eth = Topic("btc", DataType.TRADE), Topic("eth", DataType.TRADE)
    old.read("ack 1", "trade btc 1")
    assert new.monitor.lags(old.monitor, 0) == [btc, eth]
    new.now = 20
    new.read("ack 1", "trade btc 2")
    assert new.monitor.lags(old.monitor, 20) == [eth]
    assert new.monitor.lags(old.monitor, 20 + SETTLE_S) == []
    old.now = 25
    old.read("trade eth 1")
    assert new.monitor.lags(old.monitor, 20 + SETTLE_S) == [eth]


def test_who_was_refused_lags_behind(open_desk: OpenDesk) -> None:
    """A session that may not have what another has does not carry it."""
    old, new = open_desk("trade btc", "trade eth"), open_desk("trade btc", "trade eth")
    old.read("ack 1", "trade btc 1", "trade eth 1")
    new.read("trade btc 2", "no trade eth why")
    assert new.monitor.lags(old.monitor, 1000) == [Topic("eth", DataType.TRADE)]


def test_a_wish_is_granted(open_desk: OpenDesk) -> None:
    """A text that the exchange wants back is sent, and asks for no topic."""
    desk = open_desk("trade btc")
    desk.read("echo 4711")
    assert [(each.text, each.topics) for each in desk.requests] == [("4711", ())]


def test_pongs_are_counted(open_desk: OpenDesk) -> None:
    """The answer to a keepalive message is counted for each market of the connection."""
    pongs = metrics.pongs_received.labels("scripted", "eth")
    before = metrics.total(pongs)
    open_desk("trade btc", "trade eth").read("pong")
    assert metrics.total(pongs) == before + 1


def test_answers_without_ids_are_waited_for(open_desk: OpenDesk) -> None:
    """Where an answer names no request, the next request waits for it, unless it has become idle."""
    desk = open_desk("trade btc", has_ids=False)
    desk.read("no - why")
    assert desk.reason() == EndReason.SUBSCRIBE_FAILED

    desk = open_desk("trade btc", "trade eth", has_ids=False)
    desk.read("no - why")
    first, second = desk.requests
    assert not desk.monitor.subscriptions.must_wait(first)
    desk.monitor.record_request(first, 0)
    assert desk.monitor.subscriptions.must_wait(second)
    desk.read("trade btc 1")
    assert not desk.monitor.subscriptions.must_wait(second)
    assert not desk.monitor.subscriptions.is_needed(first)


def test_a_file_without_its_book_is_fetched_for_or_left() -> None:
    """Where the book comes by HTTP it is fetched; else a successor begins with it."""
    desk = Desk(make_connection("orderbook btc", rest_url="http://x.test"))
    desk.perform(desk.monitor.request_snapshot(BOOK, 7))
    assert (desk.take_fetches(), desk.handovers, desk.monitor.handover_reason) == ([BOOK], 0, None)

    desk = Desk(make_connection("orderbook btc"))
    desk.perform(desk.monitor.request_snapshot(BOOK, 7))
    assert (desk.take_fetches(), desk.handovers) == ([], 1)
    assert desk.monitor.handover_reason is not None
    assert desk.monitor.handover_reason.reason == EndReason.HANDOVER


def test_data_does_not_take_back_an_announced_end(open_desk: OpenDesk) -> None:
    """Only a silence may turn out to be a pause."""
    desk = open_desk("trade btc")
    desk.read("bye maintenance at noon", "trade btc 1")
    assert "maintenance at noon" in str(desk.monitor.handover_reason)


def test_the_next_deadline_is_the_nearer_one(open_desk: OpenDesk) -> None:
    """Of an answer and of data."""
    desk = open_desk("trade btc", data_timeout_s=90)
    assert desk.monitor.next_deadline(5) == ACK_S
    desk = open_desk("trade btc", data_timeout_s=4)
    assert desk.monitor.next_deadline(5) == 4


def test_what_cannot_be_asked_for_again_is_not(open_desk: OpenDesk) -> None:
    """Where the exchange ends no single subscription, a silent topic is told and no more."""
    desk = open_desk("trade btc", "trade eth")
    desk.read("ack 1", "trade btc 1", "trade eth 1")
    desk.now = 60
    desk.read("trade btc 2")
    desk.told()
    desk.miss_data(90)
    assert desk.requests == []
    assert desk.told() == ["stale trade eth"]
    desk.read("trade eth 2")
    assert desk.told() == []


def test_a_gap_is_told_with_the_time_it_was_found(open_desk: OpenDesk) -> None:
    """That of the read, unless it was found in what was held back before."""
    desk = open_desk("trade btc")
    btc = Topic("btc", DataType.TRADE)
    for at_us, found_us in ((None, READ_US), (77, 77)):
        finding = SequenceFinding(btc, Gap(1, 3, 2), at_us)
        decoded = Decoded(0, [], [], [finding], [], [])
        assert desk.monitor.observe(decoded, READ_US, 0) == [Found(finding, [btc], found_us)]


def test_the_first_reason_to_leave_stands(open_desk: OpenDesk) -> None:
    """What is announced later changes nothing."""
    desk = open_desk("trade btc")
    desk.read("bye maintenance at noon", "bye now")
    assert desk.handovers == 2
    assert "maintenance at noon" in str(desk.monitor.handover_reason)


def test_what_was_granted_before_is_not_told_again() -> None:
    """A second ack leads to no action."""
    desk = Desk(make_connection("trade btc"))
    desk.send()
    ack = Decoded(1, [], [Ack("1")], [], [], [])
    assert desk.monitor.observe(ack, READ_US, 1) == [
        Subscribed([Topic("btc", DataType.TRADE)], 5000)
    ]
    assert desk.monitor.observe(ack, READ_US, 2) == []


def test_all_topics_without_an_answer_are_named(open_desk: OpenDesk) -> None:
    """Whoever reads the log sees which subscriptions the exchange has ignored."""
    desk = open_desk("trade btc", "orderbook btc")
    desk.miss_acks(ACK_S)
    assert "of btc trade, btc orderbook" in str(desk.ending)
