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
def buffer() -> RowBuffer:
    return RowBuffer(flush_interval_s=1.0)


def test_nothing_is_due_before_its_time(buffer: RowBuffer, make_batch: MakeBatch) -> None:
    """Rows wait for the interval, and then all streams are taken along."""
    first, second = (make_batch(2, stream=stream) for stream in STREAMS[:2])
    buffer.add(first, 10.0)
    buffer.add(second, 10.9)
    assert (buffer.rows, buffer.due_at) == (4, 11.0)
    assert buffer.take_due(10.99) == []
    assert buffer.take_due(11.0) == [[first], [second]]
    assert (buffer.rows, buffer.due_at) == (0, math.inf)


def test_a_full_stream_is_due_alone(buffer: RowBuffer, make_batch: MakeBatch) -> None:
    """A stream with many rows does not wait, and does not take the others along."""
    buffer.add(make_batch(1, stream=STREAMS[0]), 10.0)
    full = make_batch(FULL_ROWS, stream=STREAMS[1])
    buffer.add(full, 10.0)
    assert buffer.has_full
    assert buffer.take_due(10.0) == [[full]]
    assert (buffer.has_full, buffer.rows) == (False, 1)


def test_a_round_is_bounded(buffer: RowBuffer, make_batch: MakeBatch) -> None:
    """What is too much for one round waits for the next, in order, and is due at once."""
    batches = [make_batch(1, stream=STREAMS[0], start=number) for number in range(3)]
    other = make_batch(1, stream=STREAMS[1])
    for batch in (*batches, other):
        batch.size_bytes = ROUND_BYTES // 2
        buffer.add(batch, 10.0)
    assert buffer.take_due(11.0) == [batches[:2]]
    assert (buffer.rows, buffer.due_at) == (2, 11.0)
    assert buffer.take_due(11.0) == [batches[2:], [other]]
    assert (buffer.rows, buffer.due_at) == (0, math.inf)


def test_a_full_stream_stays_full_until_it_is_taken(
    buffer: RowBuffer, make_batch: MakeBatch
) -> None:
    """A stream that has more than a round is full as long as enough rows are left."""
    batches = [make_batch(FULL_ROWS, stream=STREAMS[0]) for _ in range(2)]
    for batch in batches:
        batch.size_bytes = ROUND_BYTES
        buffer.add(batch, 10.0)
    assert buffer.take_due(10.0) == [batches[:1]]
    assert buffer.has_full
    assert buffer.take_due(10.0) == [batches[1:]]
    assert not buffer.has_full


def test_rows_that_came_back_are_first_and_rest(buffer: RowBuffer, make_batch: MakeBatch) -> None:
    """Rows that could not be written wait for their retry, in front of newer ones."""
    old, new, other = (make_batch(1, stream=STREAMS[n], start=n) for n in (0, 0, 1))
    buffer.add(new, 10.0)
    assert buffer.put_back(STREAMS[0], [old], 10.0)
    buffer.add(other, 10.0)
    assert buffer.failing == {STREAMS[0]}
    assert buffer.take_due(11.0 - 1e-9) == []
    assert buffer.take_due(11.0) == [[old, new], [other]]
    assert not buffer.put_back(STREAMS[0], [old, new], 11.0)
    assert buffer.take_due(12.9) == []
    assert buffer.take_due(13.0) == [[old, new]]
    buffer.note_written(STREAMS[0])
    assert not buffer.failing


def test_a_failing_stream_holds_up_no_other(buffer: RowBuffer, make_batch: MakeBatch) -> None:
    """While one stream rests the others go on."""
    buffer.put_back(STREAMS[0], [make_batch(1)], 10.0)
    buffer.put_back(STREAMS[0], [make_batch(1)], 10.0)  # rests until 12
    other = make_batch(1, stream=STREAMS[1])
    buffer.add(other, 10.0)
    assert buffer.take_due(11.5) == [[other]]
    assert buffer.rows == 2


def test_take_all(buffer: RowBuffer, make_batch: MakeBatch) -> None:
    """At the end everything is taken, what rests as well."""
    buffer.put_back(STREAMS[0], [make_batch(1, stream=STREAMS[0])], 10.0)
    buffer.add(make_batch(1, stream=STREAMS[1]), 10.0)
    assert len(buffer.take_all()) == 2
    assert buffer.rows == 0


def test_rows_that_came_back_are_counted(buffer: RowBuffer, make_batch: MakeBatch) -> None:
    """Rows that wait again count towards a full stream, once it can be written."""
    buffer.put_back(STREAMS[0], [make_batch(FULL_ROWS - 1, stream=STREAMS[0])], 10.0)
    assert buffer.rows == FULL_ROWS - 1
    buffer.add(make_batch(1, stream=STREAMS[0]), 10.0)
    states = [buffer.has_full]  # not while it rests
    buffer.note_written(STREAMS[0])
    buffer.add(make_batch(1, stream=STREAMS[0]), 10.0)
    states.append(buffer.has_full)
    assert buffer.rows == FULL_ROWS + 1
    assert [len(batches) for batches in buffer.take_due(10.0)] == [3]
    assert buffer.rows == 0
    buffer.add(make_batch(FULL_ROWS - 1, stream=STREAMS[0]), 10.0)
    states.append(buffer.has_full)
    assert states == [False, True, False]


def test_a_full_stream_that_fails_is_not_full(buffer: RowBuffer, make_batch: MakeBatch) -> None:
    """A stream that cannot be written rests, however many rows it has."""
    full = make_batch(FULL_ROWS, stream=STREAMS[0])
    buffer.add(full, 10.0)
    buffer.add(make_batch(FULL_ROWS, stream=STREAMS[0]), 10.0)
    buffer.put_back(STREAMS[0], [], 10.0)
    assert not buffer.has_full
    assert buffer.take_due(10.5) == []


def test_a_retry_is_due_though_the_interval_is_not(
    buffer: RowBuffer, make_batch: MakeBatch
) -> None:
    """A stream whose delay is over is taken with the full ones; the others wait on."""
    failed = make_batch(1, stream=STREAMS[0])
    buffer.put_back(STREAMS[0], [failed], 10.0)
    buffer.add(make_batch(1, stream=STREAMS[1]), 10.9)
    assert buffer.take_due(11.0) == [[failed]]
    assert (buffer.rows, buffer.due_at) == (1, 11.9)


def test_delays_grow_to_a_cap() -> None:
    """Retries come after 1, 2, 4 ... seconds, and at least every minute."""
    assert [retry_delay_s(n) for n in (1, 2, 3)] == [1, 2, 4]
    assert retry_delay_s(10_000) == MAX_RETRY_S == 60
