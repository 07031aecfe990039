"""A journal: a segment while it grows, as an Arrow IPC stream that any Arrow reader can follow.

    schema message      the columns, and in their metadata what is the same for every row
    record batch        one append; its custom metadata: crc, row
    record batch        ...

Invariants:

* A file is written by one process, and never again after an error: nothing is appended to what an
  earlier process left behind, so all damage is at the end, or comes from the disk itself.
* Every append is one `os.write`, the first one with the schema in front: a header is never alone.
* No codec: compression costs more than it saves in a file that lives for an hour, and it is no
  checksum either (46 % of flipped bits in a zstd stream went unnoticed).
* Arrow IPC has no checksums: a zeroed tail is a clean end, and zeroed bytes are data. So `crc` is a
  CRC32 of all that a row is made of: the header's metadata (a flipped bit there must not give rows
  to another stream), the counts, and the exact logical bytes of each buffer.
* `row` is the running number of the batch's first row; a reader counts what is lost in the middle.

No end-of-stream marker is written: a journal ends where its bytes end. `journal_reader.py` reads
it back.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from trio_collector.disk import Disk
from trio_collector.errors import JournalError
from trio_collector.format.header import Header, header_checksum

CRC = b"crc"
ROW = b"row"


class SegmentSize(NamedTuple):
    """How far a segment has grown."""

    first_us: int
    size_bytes: int


class Journal:
    """A journal that grows. After any error, the only call that is allowed is `close`."""

    def __init__(self, path: Path, descriptor: int, header: Header, disk: Disk) -> None:
        self.path = path
        self.header = header
        self.rows = 0
        self.size_bytes = 0
        self.is_dirty = False
        self._descriptor = descriptor
        self._disk = disk
        self._schema = header.schema()
        self._seed = header_checksum(self._schema)
        self._header_bytes = self._schema.serialize().size

    @property
    def size(self) -> SegmentSize:
        return SegmentSize(self.header.first_us, self.size_bytes)

    def append(self, rows: pa.RecordBatch) -> None:
        """Write `rows` at the end.

        Raises OSError, or JournalError if the disk took only a part. No row of `rows` is in the
        journal then, because a torn batch has no valid checksum.
        """
        whole = memoryview(encode(self._schema, rows, self.rows, self._seed))
        message = whole[self._header_bytes :] if self.size_bytes else whole
        taken = self._disk.write(self._descriptor, message)
        self.is_dirty = True
        if taken != len(message):
            raise JournalError(self.path, f"the disk took {taken} of {len(message)} bytes")
        self.rows += rows.num_rows
        self.size_bytes += taken

    def sync(self) -> None:
        """Return when all rows survive a power loss. Raises OSError; see `disk.py` on retries."""
        self._disk.sync(self._descriptor)
        self.is_dirty = False

    def close(self) -> None:
        """Close the file. Raises OSError; the descriptor is closed all the same."""
        self._disk.close(self._descriptor)


def encode(schema: pa.Schema, rows: pa.RecordBatch, row: int, seed: int) -> pa.Buffer:
    """Return a whole journal of one append: `schema.serialize()`, then the batch."""
    sink = pa.BufferOutputStream()
    stream = pa.ipc.new_stream(sink, schema)  # not closed: that writes the end marker
    crc = checksum(rows, row, seed)
    stream.write_batch(rows, custom_metadata={CRC: str(crc), ROW: str(row)})
    return sink.getvalue()


def body_bytes(rows: pa.RecordBatch) -> int:
    """Return the length of the body of the message for `rows`: Arrow pads each buffer to 8 bytes."""
    return sum(-(-len(content) // 8) * 8 for content in _contents(rows))


def checksum(rows: pa.RecordBatch, row: int, seed: int) -> int:
    """Return the CRC32 of everything in `rows`, whose first row has the running number `row`.

    Raises ValueError if a buffer is too short for the rows that the batch claims to hold.
    """
    crc = zlib.crc32(struct.pack("<qqq", rows.num_rows, row, _times(rows).null_count), seed)
    for content in _contents(rows):
        crc = zlib.crc32(content, crc)
    return crc


def _times(rows: pa.RecordBatch) -> pa.Array:
    """Return the exchange's times, the one column that may hold nulls."""
    return rows.column(2)


def _contents(rows: pa.RecordBatch) -> Iterator[memoryview]:
    """Yield the logical bytes of every buffer of an unsliced batch, without padding."""
    for column in rows.columns:
        if column.null_count:
            yield _exactly(column.buffers()[0], (len(column) + 7) // 8)
        if pa.types.is_int64(column.type):
            yield _exactly(column.buffers()[1], len(column) * 8)
        else:
            yield from _text_contents(column)


def _text_contents(column: pa.Array) -> Iterator[memoryview]:
    """Yield the offsets and the text of a column of strings or bytes."""
    _validity, offsets, text = column.buffers()
    yield (ends := _exactly(offsets, (len(column) + 1) * 4))
    yield _exactly(text, struct.unpack_from("=i", ends, len(column) * 4)[0])


def _exactly(buffer: pa.Buffer | None, size_bytes: int) -> memoryview:
    """Return the first `size_bytes` of `buffer`; what follows them is padding."""
    content = memoryview(buffer if buffer is not None else b"")
    if not 0 <= size_bytes <= len(content):
        raise ValueError("a buffer is too short for its rows")
    return content[:size_bytes]
