"""Frames to rows: every frame is a row somewhere, in order, and byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.scripted_exchange import make_connection
from trio_collector.events import (
    ROW_OVERHEAD_BYTES,
    Ack,
    Batch,
    DataType,
    Heartbeat,
    Stream,
    Topic,
    UnknownMessage,
)
from trio_collector.feed.continuity.arbitration import ArbiterSource, LineArbiter
from trio_collector.feed.continuity.sequence import Duplicate, Gap, SequenceFinding
from trio_collector.feed.decoder import CONNECTION, FrameDecoder
from trio_collector.feed.planning.connections import ConnectionPlan

BTC_TRADE = Stream("scripted", "btc", DataType.TRADE)
BTC_BOOK = Stream("scripted", "btc", DataType.ORDERBOOK)
UNPARSED = Stream("scripted", "btc", DataType.UNPARSED)


@pytest.fixture
def reader() -> FrameDecoder:
    """A reader of btc's trades and books."""
    return reader_of(make_connection("trade btc", "orderbook btc"))


def reader_of(connection: ConnectionPlan) -> FrameDecoder:
    arbiter = LineArbiter(
        connection.adapter.global_ids, connection.adapter.contiguous_ids, lambda: 0.0
    )
    source = arbiter.open_source(lambda: None)
    return FrameDecoder(connection.adapter, list(connection.topics), source)


def contents(batches: list[Batch]) -> list[tuple[Stream, list[bytes]]]:
    return [(batch.stream, batch.frames) for batch in batches]


def test_rows_of_one_read(reader: FrameDecoder) -> None:
    """The rows of a stream that came with one read are one batch, with the time of the read."""
    rows = reader.decode(77, [b"trade btc 1", b"orderbook btc 9", b"trade btc 2"])
    assert contents(rows.batches) == [
        (BTC_TRADE, [b"trade btc 1", b"trade btc 2"]),
        (BTC_BOOK, [b"orderbook btc 9"]),
    ]
    assert {batch.received_us for batch in rows.batches} == {77}
    assert rows.batches[0].sequence_ids == ["1", "2"]
    assert rows.batches[0].size_bytes == 2 * (11 + ROW_OVERHEAD_BYTES)
    assert rows.frames == 3


def test_a_frame_of_two_streams_is_a_row_in_both(reader: FrameDecoder) -> None:
    """What concerns two streams is kept in each of them, as a whole."""
    frame = b"trade btc 1; orderbook btc 9"
    assert contents(reader.decode(0, [frame]).batches) == [
        (BTC_TRADE, [frame]),
        (BTC_BOOK, [frame]),
    ]


def test_controls_are_no_rows(reader: FrameDecoder) -> None:
    """Acks and heartbeats are handed on in order, and not kept."""
    rows = reader.decode(0, [b"ack 1", b"beat"])
    assert rows.batches == []
    assert rows.controls == [Ack("1"), Heartbeat()]


def test_unreadable_frames_are_kept(reader: FrameDecoder) -> None:
    """A frame that no adapter can read is an `unparsed` row without id and time, and reported."""
    rows = reader.decode(5, [b"trade btc 1", b"\xff?", b"???", b"trade btc 2", b"!"])
    assert contents(rows.batches) == [
        (BTC_TRADE, [b"trade btc 1", b"trade btc 2"]),
        (UNPARSED, [b"\xff?", b"???", b"!"]),
    ]
    unparsed = rows.batches[1]
    assert (unparsed.sequence_ids, unparsed.exchange_us) == ([""] * 3, [None] * 3)
    assert [exc.frame for exc in rows.unreadable] == [b"\xff?", b"???", b"!"]


def test_foreign_frames_are_kept_once(reader: FrameDecoder) -> None:
    """A sound message of another kind is an `unparsed` row, one however many things it holds."""
    rows = reader.decode(0, [b"odd ticker; odd ticker", b"odd candle; trade btc 4"])
    assert contents(rows.batches) == [
        (UNPARSED, [b"odd ticker; odd ticker"]),
        (BTC_TRADE, [b"odd candle; trade btc 4"]),
        (UNPARSED, [b"odd candle; trade btc 4"]),
    ]
    assert rows.controls == [
        UnknownMessage("ticker"),
        UnknownMessage("ticker"),
        UnknownMessage("candle"),
    ]
    assert rows.unreadable == []


def test_equal_frames_are_each_a_row(reader: FrameDecoder) -> None:
    """Two frames with the same bytes are two rows, unparsed ones, too."""
    rows = reader.decode(0, [b"?", b"?", b"trade btc 1", b"trade btc 1"])
    assert [batch.rows for batch in rows.batches] == [2, 2]


def test_the_symbol_of_unparsed_rows() -> None:
    """They are of the market of the connection; with several nothing tells which one."""
    reader = reader_of(make_connection("trade btc", "trade eth"))
    (batch,) = reader.decode(0, [b"?"]).batches
    assert batch.stream == Stream("scripted", CONNECTION, DataType.UNPARSED)


def test_missing_and_repeated_ids_are_found(reader: FrameDecoder) -> None:
    """What the ids prove is told with its topic; the rows are kept all the same."""
    frames = [b"trade btc 1", b"trade btc 5", b"trade btc 5"]
    rows = reader.decode(0, frames)
    topic = Topic("btc", DataType.TRADE)
    assert rows.findings == [
        SequenceFinding(topic, Gap(1, 4, 3)),
        SequenceFinding(topic, Duplicate(5, 5)),
    ]
    assert contents(rows.batches) == [(BTC_TRADE, frames)]


def test_missing_frames_of_a_connection(reader: FrameDecoder) -> None:
    """A hole in the count of frames concerns the whole connection; the count is no row."""
    rows = reader.decode(0, [b"seq 1; beat", b"seq 4; trade btc 1"])
    assert rows.findings == [SequenceFinding(None, Gap(2, 4, 2))]
    assert contents(rows.batches) == [(BTC_TRADE, [b"seq 4; trade btc 1"])]


def test_frames_can_be_kept_unread(reader: FrameDecoder) -> None:
    """When reading is what failed, the frames are kept as they came."""
    rows = reader.keep_raw(3, [b"bug", b"trade btc 1"])
    assert contents(rows.batches) == [(UNPARSED, [b"bug", b"trade btc 1"])]
    assert (rows.frames, rows.unreadable, rows.controls) == (2, [], [])


_FRAMES = st.sampled_from(
    [b"trade btc 1", b"orderbook btc 2", b"?", b"odd x", b"beat", b"trade btc 1; orderbook btc 2"]
)


@given(st.lists(_FRAMES))
def test_every_frame_but_controls_is_kept(frames: list[bytes]) -> None:
    """No frame is lost, doubled or put in another order within its stream."""
    rows = reader_of(make_connection("trade btc")).decode(0, frames)
    for stream, sign in ((BTC_TRADE, b"trade"), (BTC_BOOK, b"orderbook")):
        kept = [f for batch in rows.batches if batch.stream == stream for f in batch.frames]
        assert kept == [frame for frame in frames if sign in frame]
    kept = [f for batch in rows.batches if batch.stream == UNPARSED for f in batch.frames]
    assert kept == [frame for frame in frames if frame in (b"?", b"odd x")]


def two_readers() -> tuple[FrameDecoder, FrameDecoder, ArbiterSource]:
    """Return the readers of two sessions of btc, and what the first one is to the arbiter.

    Ids of trades are alike on both; of books the first one leads.
    """
    connection = make_connection("trade btc", "orderbook btc")
    adapter, topics = connection.adapter, list(connection.topics)
    arbiter = LineArbiter(adapter.global_ids, frozenset(DataType), lambda: 1000.0)
    sources = [arbiter.open_source(lambda: None) for _ in range(2)]
    for source in sources:
        source.enter(topics)
    first, second = (FrameDecoder(adapter, topics, source) for source in sources)
    return first, second, sources[0]


def test_copies_are_no_rows_and_are_counted() -> None:
    """What another session brought is left out; a batch without rows tells that it came."""
    first, second, _ = two_readers()
    first.decode(7, [b"trade btc 1", b"trade btc 2"])
    rows = second.decode(8, [b"trade btc 1", b"trade btc 2"])
    assert contents(rows.batches) == [(BTC_TRADE, [])]
    assert second.take_repeated() == 2
    assert (first.take_repeated(), second.take_repeated()) == (0, 0)


def test_a_gap_of_the_session_that_leads_comes_with_its_rows() -> None:
    """It is found in the read that shows it."""
    first, _, _ = two_readers()
    rows = first.decode(7, [b"orderbook btc 1", b"orderbook btc 4"])
    topic = Topic("btc", DataType.ORDERBOOK)
    assert rows.findings == [SequenceFinding(topic, Gap(1, 3, 2))]
    assert contents(rows.batches) == [(BTC_BOOK, [b"orderbook btc 1", b"orderbook btc 4"])]


def test_what_is_held_back_comes_when_it_is_released() -> None:
    """With the time of its own read, its gap with it, before what is read then."""
    first, second, source = two_readers()
    topic = Topic("btc", DataType.ORDERBOOK)
    first.decode(7, [b"trade btc 1", b"trade btc 4"])
    rows = second.decode(8, [b"orderbook btc 1", b"orderbook btc 4"])
    assert (contents(rows.batches), rows.findings) == ([(BTC_BOOK, [])], [])
    source.leave()
    rows = second.release()
    assert contents(rows.batches) == [(BTC_BOOK, [b"orderbook btc 1", b"orderbook btc 4"])]
    assert [batch.received_us for batch in rows.batches] == [8]
    assert rows.findings == [
        SequenceFinding(topic, Gap(1, 3, 2), 8),
        SequenceFinding(Topic("btc", DataType.TRADE), Gap(1, 3, 2), 7),
    ]
    assert second.release().batches == []


def test_books_that_start_afresh_are_named(reader: FrameDecoder) -> None:
    """Each in the order of the read; changes to a book are none."""
    rows = reader.decode(7, [b"orderbook btc 1", b"reset orderbook btc 9", b"orderbook btc 10"])
    assert rows.resets == [Topic("btc", DataType.ORDERBOOK)]
    assert reader.release().frames == 0
