"""Rows as columns: batches of one stream to one Arrow record batch.

The buffers are put together here rather than by `pa.array`, which is as fast with Python objects
(0.07 µs for a 125-byte frame) but imports pandas where that is installed: the first append would
wait a second for it.

What a column cannot hold - bytes that are not UTF-8, a number beyond 64 bits - must neither be
lost nor end the process: `separate` turns such rows into `unparsed` rows of the same symbol.
"""

import struct
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import TypeVar

import pyarrow as pa

from trio_collector.events import Batch, DataType
from trio_collector.schemas import journal_schema

STRING = pa.string()

SCHEMAS = {data_type: journal_schema(data_type) for data_type in DataType}

_INT64_MAX = 2**63 - 1

T = TypeVar("T")
Row = tuple[str, int | None, bytes]


class UnfitRows(ValueError):
    """Some rows do not fit into their columns. The writer catches it and calls `separate`."""


def record_batch(batches: Sequence[Batch]) -> pa.RecordBatch:
    """Return the rows of `batches`, which are of one stream, in order.

    Raises UnfitRows if a value does not fit into its column.
    """
    schema = SCHEMAS[batches[0].stream.data_type]
    try:
        columns = [
            _texts([text.encode() for batch in batches for text in batch.sequence_ids]),
            _received(batches),
            _times(_chained([batch.exchange_us for batch in batches])),
            _texts(_chained([batch.frames for batch in batches]), schema.field("data").type),
        ]
    except (ValueError, OverflowError) as exc:  # a UnicodeError is a ValueError
        raise UnfitRows(str(exc)) from exc
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def separate(batches: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
    """Return the rows that fit, and the others as `unparsed` rows; both may be empty.

    The bytes that a batch holds of the budget are divided between the two.
    """
    pairs = [_separate_one(batch) for batch in batches]
    sound = [batch for batch, _ in pairs if batch.rows]
    unfit = [batch for _, batch in pairs if batch.rows]
    return sound, unfit


def _separate_one(batch: Batch) -> tuple[Batch, Batch]:
    sound = Batch(batch.stream, batch.received_us)
    unfit = Batch(batch.stream._replace(data_type=DataType.UNPARSED), batch.received_us)
    for row in zip(batch.sequence_ids, batch.exchange_us, batch.frames, strict=True):
        if _fits(batch, row):
            sound.append(*row)
        else:
            unfit.append(*_plain(row))
    held = min(unfit.size_bytes, batch.size_bytes) if sound.rows else batch.size_bytes
    unfit.size_bytes, sound.size_bytes = held, batch.size_bytes - held
    return sound, unfit


def _fits(batch: Batch, row: Row) -> bool:
    alone = Batch(batch.stream, batch.received_us)
    alone.append(*row)
    try:
        record_batch([alone])
    except UnfitRows:
        return False
    return True


def _plain(row: Row) -> Row:
    """Return `row` with an id and a time that any column can hold; the frame stays as it is."""
    sequence_id, exchange_us, frame = row
    if exchange_us is not None and not -_INT64_MAX <= exchange_us <= _INT64_MAX:
        exchange_us = None
    return sequence_id.encode("utf-8", "backslashreplace").decode(), exchange_us, frame


def _chained(columns: list[list[T]]) -> list[T]:
    return columns[0] if len(columns) == 1 else list(chain.from_iterable(columns))


def _texts(values: list[bytes], kind: pa.DataType = STRING) -> pa.Array:
    """Return `values` as a column of `kind`; raises UnicodeDecodeError if they are not text."""
    content = b"".join(values)
    if kind == STRING and not content.isascii():
        for value in values:  # one by one: joined, two halves of a character would be text
            value.decode()
    offsets = array("i", accumulate(map(len, values), initial=0))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    return pa.Array.from_buffers(kind, len(values), buffers)


def _times(values: list[int | None]) -> pa.Array:
    """Return `values` as a column; raises OverflowError beyond 64 bits."""
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        buffers = [None, pa.py_buffer(array("q", known))]
        return pa.Array.from_buffers(pa.int64(), len(values), buffers)
    # Arrow's bitmap counts from the lowest bit of the first byte.
    bits = "".join("0" if value is None else "1" for value in reversed(values))
    bitmap = int(bits, 2).to_bytes(-(-len(values) // 8), "little")
    buffers = [pa.py_buffer(bitmap), pa.py_buffer(array("q", [value or 0 for value in values]))]
    return pa.Array.from_buffers(pa.int64(), len(values), buffers)


def _received(batches: Sequence[Batch]) -> pa.Array:
    """Return the time of each row; a batch has one for all of its rows."""
    times = b"".join([struct.pack("=q", batch.received_us) * batch.rows for batch in batches])
    return pa.Array.from_buffers(pa.int64(), len(times) // 8, [None, pa.py_buffer(times)])
