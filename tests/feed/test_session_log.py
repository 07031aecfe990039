"""What a session tells: rows of the ledger, counters, and lines of the log, none of them twice."""

import contextlib
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from tests.support.scripted_exchange import make_connection
from trio_collector.errors import SessionEnded
from trio_collector.events import Batch, DataType, Stream, Topic
from trio_collector.feed.continuity.sequence import Duplicate, Gap, SequenceFinding
from trio_collector.feed.drift import DriftWarning
from trio_collector.feed.health.staleness import StaleTopic
from trio_collector.feed.session_log import SessionLog
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.telemetry import metrics

TRADES = Topic("btc", DataType.TRADE)
BOOKS = Topic("btc", DataType.ORDERBOOK)
ETH = Topic("eth", DataType.TRADE)
NOW_US = 1_000
RUN = 5
STATUS = Stream("scripted", "btc", DataType.STATUS)


@pytest.fixture
def entries() -> Iterator[list[Any]]:
    """The lines of the log."""
    with capture_logs() as captured:
        yield captured


@pytest.fixture
def ledger(entries: list[Any]) -> SessionLog:
    """The log of the third session of a connection."""
    connection = make_connection("trade btc", "orderbook btc", "trade eth")
    return SessionLog(connection, [TRADES, BOOKS, ETH], lambda: NOW_US, number=3, run=RUN)


def told(ledger: SessionLog) -> list[dict[str, Any]]:
    """Return the rows noted since the last call, without what they have in common."""
    rows = []
    for batch in ledger.flush():
        (frame,) = batch.frames
        row = orjson.loads(frame)
        assert (row.pop("run"), row.pop("connection"), row.pop("session")) == (RUN, "feed", 3)
        rows.append(row)
    return rows


def value(counter: Any, *labels: str) -> float:
    return metrics.total(counter.labels(*labels))


def test_rows_lie_beside_the_data(ledger: SessionLog) -> None:
    """A row of the ledger is in the status stream of its market and names the data type."""
    ledger.live(TRADES, 77)
    (batch,) = ledger.flush()
    assert (batch.stream, batch.received_us) == (STATUS, 77)
    assert orjson.loads(batch.frames[0]) == {
        "event": "live",
        "data_type": "trade",
        "run": RUN,
        "connection": "feed",
        "session": 3,
    }
    assert ledger.flush() == []


def test_the_time_is_that_of_the_read_or_now(ledger: SessionLog) -> None:
    """What an ack grants carries the read's time; what is granted by asking, the time of asking."""
    ledger.subscribed([TRADES], 77)
    ledger.subscribed([BOOKS])
    assert [batch.received_us for batch in ledger.flush()] == [77, NOW_US]


def test_a_gap_is_in_every_place(ledger: SessionLog, entries: list[Any]) -> None:
    """A gap is a row and counted for each of its topics; the log has the first of each topic."""
    before = value(metrics.gaps, "scripted", "btc", "trade")
    for number in range(3):
        gap = Gap(10 * number, 10 * number + 4, 4)
        ledger.found(SequenceFinding(TRADES, gap), [TRADES], 7)
    ledger.found(SequenceFinding(None, Gap(3, 5, None)), [TRADES, ETH], 7)
    rows = told(ledger)
    assert len(rows) == 5
    assert rows[1] == {
        "event": "gap",
        "data_type": "trade",
        "expected": 10,
        "got": 14,
        "missing": 4,
    }
    assert value(metrics.gaps, "scripted", "btc", "trade") == before + 4
    assert [entry["topics"] for entry in entries] == [["btc trade"], ["btc trade", "eth trade"]]
    assert {entry["log_level"] for entry in entries} == {"error"}


def test_a_duplicate_is_only_a_row(ledger: SessionLog, entries: list[Any]) -> None:
    """An id that came again is noted with the latest one known; nobody has to act."""
    ledger.found(SequenceFinding(TRADES, Duplicate(9, 8)), [TRADES], 7)
    assert told(ledger) == [
        {"event": "duplicate", "data_type": "trade", "latest": 9, "got": 8},
    ]
    assert entries == []


def test_news_are_logged(ledger: SessionLog, entries: list[Any]) -> None:
    """What an exchange sends for the first time is a warning; unreadable frames are counted."""
    before = value(metrics.unparsed, "scripted")
    ledger.warn([DriftWarning("unknown field", {"field": "fee"})])
    ledger.unreadable(300)
    assert value(metrics.unparsed, "scripted") == before + 300
    assert [(e["event"], e["field"], e["session"]) for e in entries] == [
        ("unknown field", "fee", 3)
    ]


def test_silence_is_told_by_name(ledger: SessionLog, entries: list[Any]) -> None:
    """A topic that fell silent is told from one that never had any data."""
    ledger.stale(StaleTopic(TRADES, 12.0, has_begun=True))
    ledger.stale(StaleTopic(ETH, 30.0, has_begun=False))
    assert [(row["event"], row["limit_s"]) for row in told(ledger)] == [
        ("stale", 12),
        ("stale", 30),
    ]
    assert [(entry["event"], entry["topics"]) for entry in entries] == [
        ("no data", ["btc trade"]),
        ("subscribed, and no data ever came", ["eth trade"]),
    ]


def test_a_refusal_needs_a_person(ledger: SessionLog, entries: list[Any]) -> None:
    """A refused topic is a row and an error; an error about nothing known is a warning alone."""
    ledger.rejected([TRADES], "no such symbol", 7)
    ledger.rejected([], "slow down", 7)
    assert told(ledger) == [{"event": "rejected", "data_type": "trade", "reason": "no such symbol"}]
    assert [(entry["log_level"], entry["reason"]) for entry in entries] == [
        ("error", "no such symbol"),
        ("warning", "slow down"),
    ]


def test_open_sessions_are_counted(ledger: SessionLog) -> None:
    """The gauge of each market is one higher as long as the session is open, whatever ends it."""
    labels = ("scripted", "btc")
    before = value(metrics.websocket_connected, *labels)
    with contextlib.suppress(KeyError), ledger.connected("ws://exchange.test"):
        assert value(metrics.websocket_connected, *labels) == before + 1
        raise KeyError
    assert value(metrics.websocket_connected, *labels) == before


def test_rows_are_counted_when_delivered(ledger: SessionLog, entries: list[Any]) -> None:
    """Delivered rows reach the counter of their stream, the market's clock and the last line."""
    before = value(metrics.messages_received, "scripted", "btc", "trade")
    batch = Batch(Stream("scripted", *TRADES), 5_000_000)
    batch.append("1", 4_998_000, b"a")
    batch.append("2", None, b"b")
    ledger.count_sent(batch)
    ledger.ended(SessionEnded(EndReason.STOPPED), [], at_us=9, latest_us=None)
    assert value(metrics.messages_received, "scripted", "btc", "trade") == before + 2
    assert value(metrics.last_message, "scripted", "btc") == 5
    assert entries[-1]["rows"] == 2


def test_an_end_has_its_reason_everywhere(ledger: SessionLog, entries: list[Any]) -> None:
    """The end is a row for each topic with when it was and the latest sign, a count and a warning."""
    before = value(metrics.disconnects, "scripted", "close_frame")
    ending = SessionEnded(EndReason.CLOSE_FRAME, "1001 going away", code=1001)
    ledger.ended(ending, [TRADES, ETH], at_us=50, latest_us=40)
    assert value(metrics.disconnects, "scripted", "close_frame") == before + 1
    first, second = ledger.flush()
    assert (first.received_us, second.stream.symbol) == (50, "eth")
    row = orjson.loads(first.frames[0])
    assert (row["event"], row["reason"], row["code"]) == ("disconnected", "close_frame", 1001)
    assert (row["detail"], row["latest_us"]) == ("1001 going away", 40)
    assert (entries[-1]["event"], entries[-1]["log_level"]) == ("session ended", "warning")


def test_a_stop_is_no_disconnect(ledger: SessionLog, entries: list[Any]) -> None:
    """To be asked to stop is an own event, and nothing to warn of."""
    ledger.ended(SessionEnded(EndReason.STOPPED), [TRADES], at_us=50, latest_us=40)
    assert [row["event"] for row in told(ledger)] == ["stopped"]
    assert entries[-1]["log_level"] == "info"


def test_a_relief_is_in_the_ledger(ledger: SessionLog) -> None:
    """Who was relieved, and from when to when both had data."""
    ledger.live(BOOKS, 60)
    ledger.live(TRADES, 70)
    told(ledger)
    ledger.handed_over([TRADES], 2, until_us=90)
    assert told(ledger) == [
        {"event": "handover", "data_type": "trade", "from_session": 2, "from_us": 60, "to_us": 90}
    ]
