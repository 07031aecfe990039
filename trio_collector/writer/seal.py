"""Seal: turn a journal into a Parquet file that is checked, and only then drop the journal.

    write X.parquet.tmp ─▶ re-open, check ─▶ fsync ─▶ rename to X.parquet ─▶ fsync folder
                                              ─▶ delete X.arrows ─▶ fsync folder

At each moment one of the two holds all rows and can be told: a temporary file is never worth
keeping, and a sealed file whose journal still exists belongs to the writer. It is checked before
the rename because `close()` of a Parquet writer on a full disk has been seen to succeed.

What is checked: page checksums (a reader has to ask for them), the number of rows, the first and
last sequence id, and the SHA-256 over the bytes of `data` in row order, against what was read from
the journal. The digest stays in the file's metadata as `content_sha256`.

A row group is gathered from whole batches up to `GROUP_ROWS` rows or `GROUP_BYTES` of messages, and
written by one `write_table`: `write_batch` would make one row group per call. Memory is bounded by
a row group, however long the journal is.
"""

import contextlib
import hashlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from trio_collector import __version__, layout
from trio_collector.disk import Disk
from trio_collector.errors import DiskError, JournalError, SealError
from trio_collector.format.header import Header
from trio_collector.format.journal_reader import JournalReader, open_journal
from trio_collector.schemas import SCHEMA_VERSION, file_schema
from trio_collector.writer.segment import sealed_path

GROUP_ROWS = 65_536
GROUP_BYTES = 64 * 1024 * 1024
CHECK_ROWS = 2_048  # read at a time when a file is checked; memory follows it


_MAGIC = b"PAR1"

# What reading and writing files with Arrow may fail with, for the disk's or the memory's sake.
UNREADABLE = (OSError, pa.ArrowException, MemoryError)


class Contents(msgspec.Struct):
    """What the rows of a file add up to."""

    rows: int = 0
    first_id: str = ""
    last_id: str = ""
    first_us: int = 0
    last_us: int = 0
    sha256: str = ""


class Sealed(msgspec.Struct, frozen=True):
    """A file that was sealed, and what its journal had lost."""

    path: Path
    header: Header
    rows: int
    size_bytes: int
    lost_rows: int
    lost_bytes: int


class Tally:
    """Adds up `Contents`, table by table."""

    def __init__(self) -> None:
        self.contents = Contents()
        self._digest = hashlib.sha256()

    def add(self, rows: pa.Table) -> None:
        if rows.num_rows == 0:
            return
        ids, times = rows["exchange_sequence_id"], rows["timestamp_collector"]
        found = self.contents
        if found.rows == 0:
            found.first_id, found.first_us = ids[0].as_py(), times[0].as_py()
        found.last_id, found.last_us = ids[-1].as_py(), times[-1].as_py()
        found.rows += rows.num_rows
        for chunk in rows["data"].chunks:
            self._digest.update(_text_of(chunk))
        found.sha256 = self._digest.hexdigest()


def seal(journal: Path, disk: Disk) -> Sealed:
    """Seal `journal` and delete it.

    Raises JournalError if it has no whole batch, SealError if the sealed file does not hold what
    the journal holds or its name is taken, and OSError; the journal is kept then, and the temporary
    file is removed if that is possible.
    """
    temporary, sealed = journal.with_suffix(layout.TEMPORARY), sealed_path(journal)
    if temporary.exists():  # of an attempt that failed so badly that it could not be removed
        disk.unlink(temporary)
    with open_journal(journal) as reader:
        try:
            _write_checked(reader, temporary, disk)
            size_bytes = temporary.stat().st_size
            if sealed.exists():
                raise SealError(sealed, "exists, and does not belong to this journal")
            disk.rename(temporary, sealed)
        except (*UNREADABLE, DiskError):
            with contextlib.suppress(OSError):
                disk.unlink(temporary)
            raise
    disk.sync_folder(sealed.parent)
    remove(journal, disk)
    return Sealed(
        sealed, reader.header, reader.rows, size_bytes, reader.lost_rows, reader.lost_bytes
    )


def remove(path: Path, disk: Disk) -> None:
    """Delete `path` for good. Raises OSError."""
    disk.unlink(path)
    disk.sync_folder(path.parent)


def check_sealed(path: Path) -> Contents:
    """Return what the sealed file `path` holds, read in full.

    Raises SealError if that is not what its metadata says, or it cannot be read.
    """
    try:
        with path.open("rb") as start:
            if start.read(len(_MAGIC)) != _MAGIC:  # pyarrow looks for it at the end only
                raise SealError(path, "does not start as a Parquet file")
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            tally = Tally()
            for group in range(file.num_row_groups):
                for rows in file.iter_batches(CHECK_ROWS, row_groups=[group], use_threads=False):
                    tally.add(pa.Table.from_batches([rows]))
            claimed = _parse_metadata(file.metadata.metadata or {})
    except (*UNREADABLE, ValueError, LookupError) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise
        raise SealError(path, f"cannot be read: {exc}") from exc
    if claimed != tally.contents:
        raise SealError(path, f"holds {tally.contents}, its metadata say {claimed}")
    return tally.contents


def _write_checked(reader: JournalReader, temporary: Path, disk: Disk) -> None:
    """Write all of `reader` to `temporary`, check it and sync it."""
    descriptor = disk.create(temporary)
    try:
        written = _write(reader, _Sink(temporary, descriptor, disk))
        found = check_sealed(temporary)
        if found != written:
            raise SealError(temporary, f"holds {found}, its journal {written}")
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)


def _write(reader: JournalReader, sink: "_Sink") -> Contents:
    header, tally = reader.header, Tally()
    with pq.ParquetWriter(
        sink,
        file_schema(header.stream.data_type),
        compression="zstd",
        compression_level=1,
        use_dictionary=["exchange", "symbol"],
        write_page_checksum=True,
    ) as parquet:
        for rows in _gathered(reader):
            tally.add(rows)
            parquet.write_table(_with_names(rows, header), row_group_size=GROUP_ROWS)
            del rows  # before the next ones are gathered: two row groups are twice the memory
        if not reader.rows:
            raise JournalError(reader.path, "holds no whole batch")
        parquet.add_key_value_metadata(_render_metadata(header, tally.contents))
    return tally.contents


def _gathered(reader: JournalReader) -> Iterator[pa.Table]:
    """Yield the journal's batches, put together to row groups."""
    group: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for batch in reader:
        if group and (
            rows + batch.num_rows > GROUP_ROWS or size_bytes + batch.nbytes > GROUP_BYTES
        ):
            yield pa.Table.from_batches(group)
            group, rows, size_bytes = [], 0, 0
        group.append(batch)
        rows += batch.num_rows
        size_bytes += batch.nbytes
    if group:
        yield pa.Table.from_batches(group)


def _with_names(rows: pa.Table, header: Header) -> pa.Table:
    """Return `rows` with exchange and symbol in front, as plain strings for every reader."""
    names = (header.stream.exchange, header.stream.symbol)
    constant = [pa.repeat(pa.scalar(name, pa.string()), rows.num_rows) for name in names]
    schema = file_schema(header.stream.data_type)
    return pa.Table.from_arrays([*constant, *rows.columns], schema=schema)


def _render_metadata(header: Header, contents: Contents) -> dict[str, str]:
    return {
        "schema_version": SCHEMA_VERSION,
        "collector_version": __version__,
        "server": header.server or "",
        "rows": str(contents.rows),
        "first_sequence_id": contents.first_id,
        "last_sequence_id": contents.last_id,
        "first_timestamp_collector": str(contents.first_us),
        "last_timestamp_collector": str(contents.last_us),
        "content_sha256": contents.sha256,
    }


def _parse_metadata(metadata: dict[bytes, bytes]) -> Contents:
    """Return what `_render_metadata` said of the contents."""
    return Contents(
        rows=int(metadata[b"rows"]),
        first_id=metadata[b"first_sequence_id"].decode(),
        last_id=metadata[b"last_sequence_id"].decode(),
        first_us=int(metadata[b"first_timestamp_collector"]),
        last_us=int(metadata[b"last_timestamp_collector"]),
        sha256=metadata[b"content_sha256"].decode(),
    )


def _text_of(column: pa.Array) -> memoryview:
    """Return the bytes of all values of a column of strings or bytes, one behind the other."""
    _validity, offsets, text = column.buffers()
    first = struct.unpack_from("=i", offsets, 4 * column.offset)[0]
    end = struct.unpack_from("=i", offsets, 4 * (column.offset + len(column)))[0]
    return memoryview(text if text is not None else b"")[first:end]


class _Sink(io.RawIOBase):
    """A file that Parquet is written to through `Disk`."""

    def __init__(self, path: Path, descriptor: int, disk: Disk) -> None:
        self._path = path
        self._descriptor = descriptor
        self._disk = disk

    def writable(self) -> bool:
        return True

    def write(self, content: memoryview) -> int:  # type: ignore[override]  # Arrow hands us bytes
        taken = self._disk.write(self._descriptor, content)
        if taken != len(content):
            raise SealError(self._path, f"the disk took {taken} of {len(content)} bytes")
        return taken
