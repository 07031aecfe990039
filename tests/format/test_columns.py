"""Rows become columns, and rows that do not fit are kept as `unparsed`."""

from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.columns import UnfitRows, record_batch, separate

STREAM = Stream("upbit", "btc", DataType.TRADE)

MakeBatch = Callable[..., Batch]


def test_batches_are_joined_in_order(make_batch: MakeBatch) -> None:
    """Each row keeps the time of its own batch."""
    rows = record_batch([make_batch(2, received_us=5), make_batch(3, received_us=9, start=2)])
    rows.validate(full=True)
    assert rows["timestamp_collector"].to_pylist() == [5, 5, 9, 9, 9]
    assert rows["exchange_sequence_id"].to_pylist() == ["id0", "id1", "id2", "id3", "id4"]
    assert rows["timestamp_exchange"].null_count == 1


@given(
    st.lists(
        st.tuples(st.text(max_size=4), st.none() | st.integers(-(2**63), 2**63 - 1), st.text())
    ).filter(bool)
)
def test_columns_hold_what_the_rows_say(rows: list[tuple[str, int | None, str]]) -> None:
    """Ids, times and frames read back as they were, nulls and text of any script included."""
    batch = Batch(STREAM, 7)
    for sequence_id, exchange_us, frame in rows:
        batch.append(sequence_id, exchange_us, frame.encode())
    written = record_batch([batch])
    written.validate(full=True)
    assert written["exchange_sequence_id"].to_pylist() == [row[0] for row in rows]
    assert written["timestamp_exchange"].to_pylist() == [row[1] for row in rows]
    assert written["data"].to_pylist() == [row[2] for row in rows]


def test_a_character_torn_between_rows_is_no_text() -> None:
    """Two frames that are UTF-8 only when put together do not fit."""
    batch = Batch(STREAM, 7)
    batch.append("1", None, b"\xc3")
    batch.append("2", None, b"\xa9")
    with pytest.raises(UnfitRows):
        record_batch([batch])


def test_unparsed_rows_are_bytes(make_batch: MakeBatch) -> None:
    """The frames of an `unparsed` stream may be any bytes."""
    stream = STREAM._replace(data_type=DataType.UNPARSED)
    rows = record_batch([make_batch(stream=stream, frames=[b"\xff\x00"])])
    assert rows["data"].type == pa.binary()
    assert rows["data"].to_pylist() == [b"\xff\x00"]


@pytest.mark.parametrize(
    "row",
    [
        ("1", None, b"caf\xe9"),  # no UTF-8
        ("1", None, b"\xed\xa0\x80"),  # a surrogate
        ("\ud800", None, b"{}"),
        ("1", 2**63, b"{}"),
        ("1", -(2**70), b"{}"),
    ],
)
def test_what_does_not_fit(row: tuple[str, int | None, bytes]) -> None:
    """Text that is not UTF-8 and numbers beyond 64 bits are set apart, with their share of budget."""
    batch = Batch(STREAM, 7)
    batch.append("0", 3, "ü".encode())
    batch.append(*row)
    with pytest.raises(UnfitRows):
        record_batch([batch])
    sound, unfit = separate([batch])
    assert [entry.frames for entry in sound] == [["ü".encode()]]
    assert unfit[0].stream == STREAM._replace(data_type=DataType.UNPARSED)
    assert unfit[0].frames == [row[2]]
    assert sound[0].size_bytes + unfit[0].size_bytes == batch.size_bytes
    assert record_batch(sound).num_rows == record_batch(unfit).num_rows == 1


@pytest.mark.parametrize(
    ("exchange_us", "kept"),
    [
        (None, None),
        (5, 5),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (1 - 2**63, 1 - 2**63),
        (-(2**64), None),
    ],
)
def test_what_fits_of_an_unfit_row_is_kept(exchange_us: int | None, kept: int | None) -> None:
    """A row that does not fit keeps its time if a column can hold it, and its id as text."""
    batch = Batch(STREAM, 7)
    batch.append("a\ud800", exchange_us, b"\xff")
    _, (unfit,) = separate([batch])
    assert unfit.exchange_us == [kept]
    assert unfit.sequence_ids == ["a\\ud800"]
    assert unfit.received_us == 7
    record_batch([unfit]).validate(full=True)


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec=None), max_size=5),
            st.none() | st.integers(-(2**65), 2**65),
            st.binary(max_size=20),
        ),
        min_size=1,
    ),
    st.integers(0, 10_000),
)
def test_no_row_and_no_byte_is_lost(
    rows: list[tuple[str, int | None, bytes]], size_bytes: int
) -> None:
    """Whatever rows come, all are written down somewhere, and their budget goes with them."""
    batch = Batch(STREAM, 7)
    for row in rows:
        batch.append(*row)
    batch.size_bytes = size_bytes
    sound, unfit = separate([batch])
    written = [frame for part in (*sound, *unfit) for frame in part.frames]
    assert sorted(written) == sorted(batch.frames)
    assert sum(part.size_bytes for part in (*sound, *unfit)) == size_bytes
    for part in (*sound, *unfit):
        record_batch([part]).validate(full=True)
