"""Vitals: what is told of a stream leads to one state; counts grow; the list stays short."""

from collections.abc import Iterable

import pytest

from trio_collector.events import Batch, DataType, Stream
from trio_collector.ledger import LedgerEvent
from trio_collector.vitals import MAX_HAPPENINGS, StreamState, Vitals

BTC = Stream("binance", "btcusdt", DataType.TRADE)
ETH = Stream("binance", "ethusdt", DataType.TRADE)
NAME = "binance:btcusdt:trades +1"


class Planned:
    """The only connection."""

    names = (NAME,)
    streams: Iterable[Stream] = [BTC, ETH]
    data_timeout_s = 90.0


@pytest.fixture
def vitals() -> Vitals:
    vitals = Vitals()
    vitals.start([Planned()], 1_000)
    return vitals


def batch(stream: Stream, rows: int, received_us: int, exchange_us: int | None) -> Batch:
    made = Batch(stream, received_us)
    for _ in range(rows):
        made.append("", exchange_us, b"{}")
    return made


def state(vitals: Vitals, stream: Stream = BTC) -> StreamState:
    return vitals.streams[stream].state


def test_what_is_planned_waits(vitals: Vitals) -> None:
    """Before its first session a stream waits, and its connection is not up."""
    assert {state(vitals, stream) for stream in (BTC, ETH)} == {StreamState.WAITING}
    assert not vitals.connections[NAME].is_up
    assert vitals.started_us == vitals.connections[NAME].since_us == 1_000


def test_life_of_a_stream(vitals: Vitals) -> None:
    """Subscribed, live, stale, live again, down: each at the word of the session."""
    vitals.connected(NAME, 1, 2_000)
    vitals.noted(BTC, LedgerEvent.SUBSCRIBED, 2_001, {})
    assert state(vitals) == StreamState.SUBSCRIBED
    assert vitals.streams[BTC].was_subscribed
    vitals.received(batch(BTC, 1, 2_002, None))
    assert state(vitals) == StreamState.LIVE
    vitals.noted(BTC, LedgerEvent.STALE, 2_003, {"limit_s": 90.0})
    assert state(vitals) == StreamState.STALE
    vitals.received(batch(BTC, 1, 2_004, None))
    assert state(vitals) == StreamState.LIVE
    vitals.ended(NAME, 1, 2_005, reason="close_frame", detail="1001")
    assert state(vitals) == StreamState.DOWN


def test_a_late_ack_changes_nothing(vitals: Vitals) -> None:
    """Data that came before the exchange's ack stays data."""
    vitals.noted(BTC, LedgerEvent.LIVE, 1, {})
    vitals.noted(BTC, LedgerEvent.SUBSCRIBED, 2, {})
    assert state(vitals) == StreamState.LIVE


def test_counts(vitals: Vitals) -> None:
    """Rows are summed, lag is summed over the batches that have an exchange's time."""
    vitals.received(batch(BTC, 3, 5_000, 4_000))
    vitals.received(batch(BTC, 2, 7_000, 4_000))
    vitals.received(batch(BTC, 1, 8_000, None))
    stream = vitals.streams[BTC]
    assert (stream.rows, stream.latest_us) == (6, 8_000)
    assert (stream.lag_us, stream.lag_batches) == (4_000, 2)
    assert vitals.streams[ETH].rows == 0


def test_rows_of_other_streams_are_counted_apart(vitals: Vitals) -> None:
    """Unparsed rows belong to no stream that is asked for."""
    vitals.received(batch(BTC._replace(data_type=DataType.UNPARSED), 4, 1, None))
    assert vitals.other_rows == 4
    assert vitals.streams.keys() == {BTC, ETH}


def test_end_of_a_session(vitals: Vitals) -> None:
    """An end is told once for the connection, and its reason is kept until the next session."""
    vitals.connected(NAME, 1, 2_000)
    vitals.ended(NAME, 1, 3_000, reason="close_frame", detail="1001 going away")
    connection = vitals.connections[NAME]
    assert (connection.is_up, connection.reason) == (False, "close_frame")
    (happening,) = vitals.happenings()
    assert (happening.subject, happening.text) == (NAME, "close_frame: 1001 going away")
    vitals.connected(NAME, 2, 4_000)
    assert (connection.is_up, connection.reason, connection.session) == (True, "", 2)
    assert [each.event for each in vitals.happenings()] == ["connected", "disconnected"]


def test_a_stop_is_no_trouble(vitals: Vitals) -> None:
    """Streams that the collector left are stopped, not down, and nobody is told."""
    vitals.connected(NAME, 1, 2_000)
    vitals.ended(NAME, 1, 3_000, reason="stopped", detail="")
    assert state(vitals) == StreamState.STOPPED
    assert not list(vitals.happenings())


def test_end_of_an_older_session(vitals: Vitals) -> None:
    """A session that was replaced before it ended takes nothing with it."""
    vitals.connected(NAME, 1, 2_000)
    vitals.connected(NAME, 2, 3_000)
    vitals.received(batch(BTC, 1, 3_001, None))
    vitals.ended(NAME, 1, 3_002, reason="handover", detail="")
    assert vitals.connections[NAME].is_up
    assert state(vitals) == StreamState.LIVE


def test_refusal_outlives_its_session(vitals: Vitals) -> None:
    """A refused stream stays refused, with the reason, until it is granted after all."""
    vitals.noted(ETH, LedgerEvent.REJECTED, 1, {"reason": "no such market"})
    vitals.ended(NAME, 1, 2, reason="close_frame", detail="")
    assert state(vitals, ETH) == StreamState.REFUSED
    assert vitals.streams[ETH].refusal == "no such market"
    vitals.noted(ETH, LedgerEvent.SUBSCRIBED, 3, {})
    assert (state(vitals, ETH), vitals.streams[ETH].refusal) == (StreamState.SUBSCRIBED, "")


def test_what_repeats_is_one_line(vitals: Vitals) -> None:
    """What happens to a stream again and again is told once, with the latest words and a count."""
    for number in range(3):
        fields = {"expected": number, "got": number + 2, "missing": 2}
        vitals.noted(BTC, LedgerEvent.GAP, number, fields)
    vitals.noted(ETH, LedgerEvent.STALE, 9, {"limit_s": 90.0})
    latest, gap = vitals.happenings()
    assert (latest.subject, latest.text) == ("binance ethusdt trade", "no data for 90 s")
    assert (gap.times, gap.first_us, gap.latest_us) == (3, 0, 2)
    assert gap.text == "expected 2, got 4, 2 missing"
    assert (vitals.streams[BTC].gaps, vitals.streams[BTC].latest_gap_us) == (3, 2)


def test_the_list_is_bounded(vitals: Vitals) -> None:
    """The oldest happenings leave."""
    for number in range(MAX_HAPPENINGS + 5):
        vitals.happened(f"subject {number}", "event", number, "")
    subjects = [each.subject for each in vitals.happenings()]
    assert len(subjects) == MAX_HAPPENINGS
    assert subjects[0] == f"subject {MAX_HAPPENINGS + 4}"
    assert subjects[-1] == "subject 5"


def test_ledger_words_that_are_not_known(vitals: Vitals) -> None:
    """Fields that are not those expected are told as they are."""
    vitals.noted(BTC, LedgerEvent.GAP, 1, {"from": 3})
    (happening,) = vitals.happenings()
    assert happening.text == "from 3"


def test_strangers_are_ignored(vitals: Vitals) -> None:
    """What nobody planned changes nothing."""
    vitals.noted(BTC._replace(symbol="other"), LedgerEvent.GAP, 1, {})
    vitals.connected("other", 1, 1)
    vitals.ended("other", 1, 1, reason="bug", detail="")
    assert not list(vitals.happenings())
    assert vitals.connections.keys() == {NAME}
