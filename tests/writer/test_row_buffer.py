"""What waits in memory, and when it is due."""

import math
from collections.abc import Callable

import pytest

from trio_collector.events import Batch, DataType, Stream
from trio_collector.writer.row_buffer import (
    FULL_ROWS,
    MAX_RETRY_S,
    ROUND_BYTES,
    RowBuffer,
    retry_delay_s,
)

STREAMS = [Stream("binance", name, DataType.TRADE) for name in ("a", "b", "c")]

MakeBatch = Callable[..., Batch]


@pytest.fixture
def pending() -> RowBuffer:
    return RowBuffer(flush_interval_s=1.0)


def test_nothing_is_due_before_its_time(pending: RowBuffer, make_batch: MakeBatch) -> None:
    """Rows wait for the interval, and then all streams are taken along."""
    first, second = (make_batch(2, stream=stream) for stream in STREAMS[:2])
    pending.add(first, 10.0)
    pending.add(second, 10.9)
    assert (pending.rows, pending.due_at) == (4, 11.0)
    assert pending.take_due(10.99) == []
    assert pending.take_due(11.0) == [[first], [second]]
    assert (pending.rows, pending.due_at) == (0, math.inf)


def test_a_full_stream_is_due_alone(pending: RowBuffer, make_batch: MakeBatch) -> None:
    """A stream with many rows does not wait, and does not take the others along."""
    pending.add(make_batch(1, stream=STREAMS[0]), 10.0)
    full = make_batch(FULL_ROWS, stream=STREAMS[1])
    pending.add(full, 10.0)
    assert pending.has_full
    assert pending.take_due(10.0) == [[full]]
    assert (pending.has_full, pending.rows) == (False, 1)


def test_a_round_is_bounded(pending: RowBuffer, make_batch: MakeBatch) -> None:
    """What is too much for one round waits for the next, in order, and is due at once."""
    batches = [make_batch(1, stream=STREAMS[0], start=number) for number in range(3)]
    other = make_batch(1, stream=STREAMS[1])
    for batch in (*batches, other):
        batch.size_bytes = ROUND_BYTES // 2
        pending.add(batch, 10.0)
    assert pending.take_due(11.0) == [batches[:2]]
    assert (pending.rows, pending.due_at) == (2, 11.0)
    assert pending.take_due(11.0) == [batches[2:], [other]]
    assert (pending.rows, pending.due_at) == (0, math.inf)


def test_a_full_stream_stays_full_until_it_is_taken(
    pending: RowBuffer, make_batch: MakeBatch
) -> None:
    """A stream that has more than a round is full as long as enough rows are left."""
    batches = [make_batch(FULL_ROWS, stream=STREAMS[0]) for _ in range(2)]
    for batch in batches:
        batch.size_bytes = ROUND_BYTES
        pending.add(batch, 10.0)
    assert pending.take_due(10.0) == [batches[:1]]
    assert pending.has_full
    assert pending.take_due(10.0) == [batches[1:]]
    assert not pending.has_full


def test_rows_that_came_back_are_first_and_rest(pending: RowBuffer, make_batch: MakeBatch) -> None:
    """Rows that could not be written wait for their retry, in front of newer ones."""
    old, new, other = (make_batch(1, stream=STREAMS[n], start=n) for n in (0, 0, 1))
    pending.add(new, 10.0)
    assert pending.put_back(STREAMS[0], [old], 10.0)
    pending.add(other, 10.0)
    assert pending.failing == {STREAMS[0]}
    assert pending.take_due(11.0 - 1e-9) == []
    assert pending.take_due(11.0) == [[old, new], [other]]
    assert not pending.put_back(STREAMS[0], [old, new], 11.0)
    assert pending.take_due(12.9) == []
    assert pending.take_due(13.0) == [[old, new]]
    pending.note_written(STREAMS[0])
    assert not pending.failing


def test_a_failing_stream_holds_up_no_other(pending: RowBuffer, make_batch: MakeBatch) -> None:
    """While one stream rests the others go on."""
    pending.put_back(STREAMS[0], [make_batch(1)], 10.0)
    pending.put_back(STREAMS[0], [make_batch(1)], 10.0)  # rests until 12
    other = make_batch(1, stream=STREAMS[1])
    pending.add(other, 10.0)
    assert pending.take_due(11.5) == [[other]]
    assert pending.rows == 2


def test_take_all(pending: RowBuffer, make_batch: MakeBatch) -> None:
    """At the end everything is taken, what rests as well."""
    pending.put_back(STREAMS[0], [make_batch(1, stream=STREAMS[0])], 10.0)
    pending.add(make_batch(1, stream=STREAMS[1]), 10.0)
    assert len(pending.take_all()) == 2
    assert pending.rows == 0


def test_delays_grow_to_a_cap() -> None:
    """Retries come after 1, 2, 4 ... seconds, and at least every minute."""
    assert [retry_delay_s(n) for n in (1, 2, 3)] == [1, 2, 4]
    assert retry_delay_s(10_000) == MAX_RETRY_S
