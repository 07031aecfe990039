"""Which books a reader can build."""

from trio_collector.events import DataType, Topic
from trio_collector.feed.books.snapshots import BookSnapshots

BTC, ETH = Topic("btc", DataType.ORDERBOOK), Topic("eth", DataType.ORDERBOOK)


def test_a_snapshot_serves_until_messages_are_missing() -> None:
    """A gap in one book is none in another."""
    snapshots = BookSnapshots()
    assert not snapshots.has(BTC)
    snapshots.record(BTC, 100)
    snapshots.record(ETH, 100)
    assert snapshots.has(BTC)
    snapshots.discard(BTC)
    snapshots.discard(BTC)
    assert (snapshots.has(BTC), snapshots.has(ETH)) == (False, True)


def test_a_file_needs_one_of_its_own() -> None:
    """The latest snapshot counts, and only if it came no earlier than the file's first row."""
    snapshots = BookSnapshots()
    snapshots.record(BTC, 100)
    snapshots.record(BTC, 200)
    assert snapshots.has(BTC, since_us=200)
    assert not snapshots.has(BTC, since_us=201)
    assert snapshots.has(BTC, since_us=150)


def test_without_a_connection_no_book_can_be_built() -> None:
    """Whatever was known of any book is lost with the last session."""
    snapshots = BookSnapshots()
    snapshots.record(BTC, 100)
    snapshots.record(ETH, 100)
    snapshots.discard_all()
    assert not snapshots.has(BTC)
    assert not snapshots.has(ETH)
