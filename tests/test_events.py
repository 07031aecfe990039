"""The words of a frame."""

from trio_collector.events import (
    DATA_TYPE_OF,
    ROW_OVERHEAD_BYTES,
    Batch,
    DataType,
    FeedType,
    Stream,
)

TRADES = Stream("binance", "btcusdt", DataType.TRADE)


def test_every_feed_has_a_data_type() -> None:
    """Each feed that can be asked for says what its rows are."""
    assert set(DATA_TYPE_OF) == set(FeedType)
    assert DATA_TYPE_OF[FeedType.TRADES] is DataType.TRADE


def test_names_are_those_of_the_rust_archive() -> None:
    """Feeds are named in the plural in a configuration, rows in the singular in the archive."""
    assert [*FeedType] == ["orderbook", "trades"]
    assert [*DataType] == ["orderbook", "trade", "status", "unparsed"]


def test_columns_run_in_parallel() -> None:
    """Each row is one place in every column of its batch."""
    batch = Batch(TRADES, received_us=7)
    batch.append("1", 5, b"{}")
    batch.append("2", None, b"[1]")
    assert batch.rows == 2
    assert batch.sequence_ids == ["1", "2"]
    assert batch.exchange_us == [5, None]
    assert batch.frames == [b"{}", b"[1]"]


def test_size_counts_frames_and_their_overhead() -> None:
    """What a batch takes of the byte budget is its frames and a fixed part for each row."""
    batch = Batch(TRADES, received_us=7)
    assert batch.size_bytes == 0
    batch.append("1", 5, b"x" * 100)
    batch.append("2", 5, b"")
    assert batch.size_bytes == 100 + 2 * ROW_OVERHEAD_BYTES


def test_batches_share_no_columns() -> None:
    """A new batch is empty, whatever was appended to another."""
    Batch(TRADES, received_us=7).append("1", 5, b"{}")
    assert Batch(TRADES, received_us=8).rows == 0
