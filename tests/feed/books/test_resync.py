"""Which books are to be begun afresh, and when that is asked for."""

from typing import Any

from tests.support.scripted_exchange import make_connection
from trio_collector.events import DataType, Topic
from trio_collector.feed.books.resync import RESYNC_S, BookResync
from trio_collector.feed.books.snapshots import BookSnapshots

BOOK, TRADE = Topic("btc", DataType.ORDERBOOK), Topic("btc", DataType.TRADE)
REST = {"rest_url": "https://exchange.test/book"}
NOW = 1000.5


def _resync(**traits: Any) -> tuple[BookResync, BookSnapshots]:
    connection = make_connection(
        "orderbook btc", "trade btc", **{"has_incremental_books": True, **traits}
    )
    snapshots = BookSnapshots()
    return BookResync(connection, snapshots), snapshots


def test_a_book_that_comes_by_http_is_fetched_at_its_first_data() -> None:
    """Once; who fetches it tries until it has it."""
    resync, _ = _resync(**REST)
    assert resync.start_fetches(NOW) == []
    resync.record_first_data(BOOK, NOW)
    resync.record_first_data(TRADE, NOW)
    assert resync.start_requests(NOW) == []
    assert resync.start_fetches(NOW - 0.5) == []
    assert resync.start_fetches(NOW) == [BOOK]
    assert resync.start_fetches(NOW + 1e6) == []


def test_a_book_that_another_session_has_is_not_fetched() -> None:
    """Its snapshot serves until messages are missing."""
    resync, snapshots = _resync(**REST)
    snapshots.record(BOOK, 7)
    resync.record_first_data(BOOK, NOW)
    assert resync.start_fetches(NOW) == []
    resync.record_gap(BOOK, NOW)
    assert not snapshots.has(BOOK)
    assert resync.start_fetches(NOW) == [BOOK]


def test_a_book_that_comes_by_itself_is_not_asked_for_at_its_first_data() -> None:
    """A subscription begins with it."""
    resync, _ = _resync()
    resync.record_first_data(BOOK, NOW)
    assert (resync.start_requests(NOW), resync.start_fetches(NOW)) == ([], [])


def test_a_book_with_a_gap_is_requested_until_it_comes() -> None:
    """Again in a while, if that brings nothing; no more once it is there."""
    resync, snapshots = _resync()
    snapshots.record(BOOK, 7)
    resync.record_gap(BOOK, NOW)
    resync.record_gap(BOOK, NOW + 5)  # the first one counts
    assert not snapshots.has(BOOK)
    assert resync.start_fetches(NOW) == []
    assert resync.start_requests(NOW) == [BOOK]
    assert resync.start_requests(NOW + RESYNC_S - 0.5) == []
    assert resync.start_requests(NOW + RESYNC_S) == [BOOK]
    resync.record_snapshot(BOOK, 99)
    assert snapshots.has(BOOK, since_us=99)
    assert resync.start_requests(NOW + 1e6) == []


def test_a_gap_in_trades_needs_no_book() -> None:
    """It concerns books alone."""
    resync, snapshots = _resync()
    snapshots.record(BOOK, 7)
    resync.record_gap(TRADE, NOW)
    assert resync.start_requests(NOW) == []
    assert snapshots.has(BOOK)


def test_whole_books_need_nothing() -> None:
    """Where each message holds the book, the next one is enough."""
    resync, _ = _resync(has_incremental_books=False)
    resync.record_gap(BOOK, NOW)
    assert resync.start_requests(NOW) == []


def test_what_nobody_asked_for_is_not_fetched() -> None:
    """A book of a market that is not of this connection, and trades, have no request."""
    resync, _ = _resync(**REST)
    assert resync.is_fetched(BOOK) is True
    assert resync.is_fetched(TRADE) is False
    assert resync.is_fetched(Topic("eth", DataType.ORDERBOOK)) is False
    assert _resync()[0].is_fetched(BOOK) is False
