"""The live state: what feeds report of a stream leads to one state; counts grow."""

import pytest

from tests.support.live import Planned, batch_of
from trio_collector.events import DataType, Stream
from trio_collector.ledger import LedgerEvent
from trio_collector.telemetry.live_state import LiveState
from trio_collector.telemetry.stream_state import StreamState

BTC = Stream("binance", "btcusdt", DataType.TRADE)
ETH = Stream("binance", "ethusdt", DataType.TRADE)
PLANNED = Planned(BTC, ETH)
(NAME,) = PLANNED.names


@pytest.fixture
def live() -> LiveState:
    live = LiveState()
    live.start([PLANNED], 1_000)
    return live


def state(live: LiveState, stream: Stream = BTC) -> StreamState:
    return live.streams[stream].state


def test_what_is_planned_waits(live: LiveState) -> None:
    """Before its first session a stream waits, and its connection is not up."""
    assert {state(live, stream) for stream in (BTC, ETH)} == {StreamState.WAITING}
    assert not live.connections[NAME].is_up
    assert live.started_us == live.connections[NAME].since_us == 1_000


def test_life_of_a_stream(live: LiveState) -> None:
    """Subscribed, live, stale, live again, down: each as the session reports it."""
    live.connected(NAME, 1, 2_000)
    live.noted(BTC, LedgerEvent.SUBSCRIBED, 2_001, {})
    assert state(live) == StreamState.SUBSCRIBED
    assert live.streams[BTC].was_subscribed
    live.received(batch_of(BTC, 1, 2_002, None))
    assert state(live) == StreamState.LIVE
    live.noted(BTC, LedgerEvent.STALE, 2_003, {"limit_s": 90.0})
    assert state(live) == StreamState.STALE
    live.received(batch_of(BTC, 1, 2_004, None))
    assert state(live) == StreamState.LIVE
    live.ended(NAME, 1, 2_005, reason="close_frame", detail="1001")
    assert state(live) == StreamState.DOWN


def test_a_late_ack_changes_nothing(live: LiveState) -> None:
    """Data that came before the exchange's ack stays data."""
    live.noted(BTC, LedgerEvent.LIVE, 1, {})
    live.noted(BTC, LedgerEvent.SUBSCRIBED, 2, {})
    assert state(live) == StreamState.LIVE


def test_counts(live: LiveState) -> None:
    """Rows are summed, lag is summed over the batches that have an exchange's time."""
    live.received(batch_of(BTC, 3, 5_000, 1_000))
    live.received(batch_of(BTC, 2, 7_000, 3_000))
    live.received(batch_of(BTC, 1, 8_000, None))
    stream = live.streams[BTC]
    assert (stream.rows, stream.latest_us) == (6, 8_000)
    assert (stream.lag_us, stream.lag_batches) == (4_000, 2)
    assert live.streams[ETH].rows == 0


def test_rows_of_other_streams_are_counted_apart(live: LiveState) -> None:
    """Unparsed rows belong to no stream that is subscribed to."""
    live.received(batch_of(BTC._replace(data_type=DataType.UNPARSED), 4, 1, None))
    assert live.other_rows == 4
    assert live.streams.keys() == {BTC, ETH}


def test_end_of_a_session(live: LiveState) -> None:
    """An end is listed once for the connection, and its reason is kept until the next session."""
    live.connected(NAME, 1, 2_000)
    live.ended(NAME, 1, 3_000, reason="close_frame", detail="1001 going away")
    connection = live.connections[NAME]
    assert (connection.is_up, connection.reason) == (False, "close_frame")
    (event,) = live.recent_events
    assert (event.subject, event.text) == (NAME, "close_frame: 1001 going away")
    live.connected(NAME, 2, 4_000)
    assert (connection.is_up, connection.reason, connection.session) == (True, "", 2)
    assert [each.event for each in live.recent_events] == ["connected", "disconnected"]


def test_a_stop_is_no_trouble(live: LiveState) -> None:
    """Streams that the collector left are stopped, not down, and nothing is listed."""
    live.connected(NAME, 1, 2_000)
    live.ended(NAME, 1, 3_000, reason="stopped", detail="")
    assert state(live) == StreamState.STOPPED
    assert not list(live.recent_events)


def test_end_of_an_older_session(live: LiveState) -> None:
    """The end of a session that was replaced before changes nothing."""
    live.connected(NAME, 1, 2_000)
    live.connected(NAME, 2, 3_000)
    live.received(batch_of(BTC, 1, 3_001, None))
    live.ended(NAME, 1, 3_002, reason="handover", detail="")
    assert live.connections[NAME].is_up
    assert state(live) == StreamState.LIVE


def test_end_of_one_of_two_connections(live: LiveState) -> None:
    """A stream that two connections carry is down when both are."""
    live.start([Planned(BTC, name="second")], 1_000)
    for name in (NAME, "second"):
        live.connected(name, 1, 2_000)
    live.received(batch_of(BTC, 1, 2_001, None))
    live.ended(NAME, 1, 3_000, reason="close_frame", detail="")
    assert (state(live, BTC), state(live, ETH)) == (StreamState.LIVE, StreamState.DOWN)
    live.ended("second", 1, 3_001, reason="close_frame", detail="")
    assert state(live, BTC) == StreamState.DOWN


def test_refusal_outlives_its_session(live: LiveState) -> None:
    """A refused stream stays refused, with the reason, until it is granted after all."""
    live.noted(ETH, LedgerEvent.REJECTED, 1, {"reason": "no such market"})
    live.ended(NAME, 1, 2, reason="close_frame", detail="")
    assert state(live, ETH) == StreamState.REFUSED
    assert live.streams[ETH].refusal == "no such market"
    live.noted(ETH, LedgerEvent.SUBSCRIBED, 3, {})
    assert (state(live, ETH), live.streams[ETH].refusal) == (StreamState.SUBSCRIBED, "")


def test_what_repeats_is_one_line(live: LiveState) -> None:
    """What happens to a stream again and again is listed once, with the latest words and a count."""
    for number in range(3):
        fields = {"expected": number, "got": number + 2, "missing": 2}
        live.noted(BTC, LedgerEvent.GAP, number, fields)
    live.noted(ETH, LedgerEvent.STALE, 9, {"limit_s": 90.0})
    latest, gap = live.recent_events
    assert (latest.subject, latest.text) == ("binance ethusdt trade", "no data for 90 s")
    assert (gap.times, gap.first_us, gap.latest_us) == (3, 0, 2)
    assert gap.text == "expected 2, got 4, 2 missing"
    assert (live.streams[BTC].gaps, live.streams[BTC].latest_gap_us) == (3, 2)


def test_strangers_are_ignored(live: LiveState) -> None:
    """Streams and connections that are not planned change nothing."""
    live.noted(BTC._replace(symbol="other"), LedgerEvent.GAP, 1, {})
    live.connected("other", 1, 1)
    live.ended("other", 1, 1, reason="bug", detail="")
    assert not list(live.recent_events)
    assert live.connections.keys() == {NAME}
