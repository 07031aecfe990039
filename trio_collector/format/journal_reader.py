"""Read a journal back: exactly its whole batches, whatever happened to the rest of the file.

A batch is whole if Arrow can read it, its checksum agrees, and its message is exactly as long as
its columns need; nothing else is ever yielded. After damage the reader searches for the next
message: each starts with `ff ff ff ff` at a multiple of 8 bytes. The search begins at the first
byte of the damaged message, because a damaged length may claim the messages behind it. A marker
inside a frame costs one attempt and yields nothing: its checksum is wrong.

Every way in which pyarrow reports a torn or damaged stream (StopIteration, ArrowInvalid, OSError
without a number, MemoryError) means the same here: no whole batch at this place. An error of the
disk itself has a number and is raised: what cannot be read today is not damaged, and nothing may be
decided about it. For the same reason the file is not mapped into memory, where such an error would
be a SIGBUS that ends the process, again at every start.
"""

import contextlib
import enum
import io
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from trio_collector.errors import JournalError
from trio_collector.format.header import header_checksum, parse_header
from trio_collector.format.journal import CRC, ROW, body_bytes, checksum

_MARKER = b"\xff\xff\xff\xff"
_PREFIX_BYTES = 8  # the marker, and the length of the metadata behind it

# A longer one is damage: a header holds seven short texts, and the metadata of a batch takes about
# 500 bytes. Without a limit, a flipped bit in a length would look like a file that was cut short.
_MAX_HEADER_BYTES = 65_536
_MAX_METADATA_BYTES = 4_096

_SCAN_BYTES = 1 << 20


class JournalState(enum.Enum):
    """What a journal holds that nobody writes to any more."""

    ROWS = "rows"  # at least one whole batch
    NOTHING = "nothing"  # the beginning of a first append, which was never acknowledged
    UNREADABLE = "unreadable"  # no whole batch, but there may have been rows


class TornHeader(JournalError):
    """The file ends before its header does."""


class JournalReader:
    """Iterates once over the whole batches of a journal, and counts what was lost between them.

    `rows`, `lost_rows` and `lost_bytes` are complete once all batches were read.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.rows = 0  # in whole batches
        self.lost_rows = 0  # between whole batches, by their running numbers
        self.size_bytes = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._head = self._read_head()
        self._whole_bytes = len(self._head)
        try:
            schema = pa.ipc.open_stream(pa.py_buffer(self._head)).schema
            self.header = parse_header(schema)
        except _DAMAGE as exc:
            raise JournalError(path, f"the header is damaged: {exc}") from exc
        self._seed = header_checksum(schema)

    @property
    def lost_bytes(self) -> int:
        """The bytes that are in no whole batch."""
        return self.size_bytes - self._whole_bytes

    @property
    def is_torn_start(self) -> bool:
        """Whether nothing but a first append that was cut short follows the header."""
        start = len(self._head)
        if self._is_zero_from(start):
            return True
        if not self._can_start_message(start):
            return _is_torn(self._read(start, _PREFIX_BYTES))
        if self.size_bytes - start < _message_metadata_end(self._read(start, _PREFIX_BYTES)):
            return True
        try:
            pa.ipc.read_message(_Splice(self._read, b"", start))
        except OSError as exc:  # Arrow's error for a body that is too short
            _raise_if_real(exc)
            return True
        except (pa.ArrowInvalid, MemoryError):
            return False
        return False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        start: int | None = len(self._head)
        while start is not None:
            for rows, end in self._whole_from(start):
                self._whole_bytes += end - start
                start = end
                yield rows
            start = self._next_marker(start + 1)

    def _whole_from(self, start: int) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Yield one whole batch after the other, each with its end, until there is none."""
        splice = _Splice(self._read, self._head, start)
        with pa.ipc.open_stream(splice) as stream:
            while self._can_start_message(start):
                rows = self._next_whole(stream, start, splice)
                if rows is None:
                    return
                start = splice.position
                yield rows, start

    def _next_whole(
        self, stream: pa.RecordBatchReader, start: int, splice: "_Splice"
    ) -> pa.RecordBatch | None:
        try:
            rows, facts = stream.read_next_batch_with_custom_metadata()
            rows.validate()  # compares lengths: no buffer may be shorter than its rows
            row, crc = int(facts[ROW]), int(facts[CRC])
            is_whole = (
                rows.num_rows > 0
                and row >= self.rows + self.lost_rows
                and crc == checksum(rows, row, self._seed)
                and splice.position - start == self._message_bytes(start, rows)
            )
        except _DAMAGE as exc:
            _raise_if_real(exc)
            return None
        if not is_whole:
            return None
        self.lost_rows = row - self.rows
        self.rows += rows.num_rows
        return rows

    def _message_bytes(self, start: int, rows: pa.RecordBatch) -> int:
        """Return the length of the message at `start` if it holds `rows`."""
        return _message_metadata_end(self._read(start, _PREFIX_BYTES)) + body_bytes(rows)

    def _can_start_message(self, start: int) -> bool:
        prefix = self._read(start, _PREFIX_BYTES)
        return len(prefix) == _PREFIX_BYTES and _is_prefix(prefix, _MAX_METADATA_BYTES)

    def _next_marker(self, start: int) -> int | None:
        """Return where the next message may start, at `start` or behind it."""
        start = -(-start // 8) * 8
        while start < self.size_bytes:
            chunk = self._read(start, _SCAN_BYTES)
            found = chunk.find(_MARKER)
            while found >= 0:
                if found % 8 == 0 and self._can_start_message(start + found):
                    return start + found
                found = chunk.find(_MARKER, found + 1)
            start += _SCAN_BYTES
        return None

    def _read_head(self) -> bytes:
        """Return the bytes of the schema message."""
        prefix = self._read(0, _PREFIX_BYTES)
        if _is_torn(prefix) or self._is_zero_from(0):
            raise TornHeader(self.path, f"a header of {self.size_bytes} bytes")
        if not _is_prefix(prefix, _MAX_HEADER_BYTES):
            raise JournalError(self.path, "does not start as a journal")
        size_bytes = _message_metadata_end(prefix)
        if size_bytes > self.size_bytes:
            raise TornHeader(self.path, f"{self.size_bytes} of {size_bytes} bytes of the header")
        return self._read(0, size_bytes)

    def _read(self, start: int, size_bytes: int) -> bytes:
        """Return `size_bytes` bytes at `start`, or those up to the end of the file."""
        return os.pread(self._descriptor, max(0, min(size_bytes, self.size_bytes - start)), start)

    def _is_zero_from(self, start: int) -> bool:
        offsets = range(start, self.size_bytes, _SCAN_BYTES)
        return not any(self._read(offset, _SCAN_BYTES).strip(b"\0") for offset in offsets)


class _Splice(io.RawIOBase):
    """Shows Arrow a stream of the header and, right behind it, the message at `position`."""

    def __init__(self, read: Callable[[int, int], bytes], head: bytes, position: int) -> None:
        self._read = read
        self._head = head
        self.position = position

    def readable(self) -> bool:
        return True

    def read(self, size_bytes: int = -1) -> bytes:
        if self._head:
            content, self._head = self._head[:size_bytes], self._head[size_bytes:]
            return content
        content = self._read(self.position, size_bytes)
        self.position += len(content)
        return content


@contextlib.contextmanager
def open_journal(path: Path) -> Iterator[JournalReader]:
    """Open a journal for reading.

    Raises TornHeader if the file ends within its header, JournalError if the header is damaged,
    because then nothing in the file can be trusted, and OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield JournalReader(path, descriptor)
    finally:
        os.close(descriptor)


def inspect_journal(path: Path) -> JournalState:
    """Return what the journal `path` holds. Raises OSError."""
    try:
        with open_journal(path) as journal:
            if next(iter(journal), None) is not None:
                return JournalState.ROWS
            return JournalState.NOTHING if journal.is_torn_start else JournalState.UNREADABLE
    except TornHeader:
        return JournalState.NOTHING
    except JournalError:
        return JournalState.UNREADABLE


_DAMAGE = (
    StopIteration,
    pa.ArrowException,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    MemoryError,
)


def _raise_if_real(exc: BaseException) -> None:
    """Raise `exc` if it is an error of the disk; those that Arrow raises have no number."""
    if isinstance(exc, OSError) and exc.errno is not None:
        raise exc


def _message_metadata_end(prefix: bytes) -> int:
    """Return the length of a message without its body."""
    metadata_bytes: int = struct.unpack_from("<i", prefix, 4)[0]
    return _PREFIX_BYTES + metadata_bytes


def _is_prefix(prefix: bytes, limit_bytes: int) -> bool:
    """Return whether `prefix` is a marker and a plausible length."""
    metadata_bytes = _message_metadata_end(prefix) - _PREFIX_BYTES
    return (
        prefix.startswith(_MARKER) and 0 < metadata_bytes <= limit_bytes and metadata_bytes % 8 == 0
    )


def _is_torn(prefix: bytes) -> bool:
    """Return whether `prefix` is shorter than a message's first bytes, but starts like them."""
    return len(prefix) < _PREFIX_BYTES and _MARKER.startswith(prefix[:4])
