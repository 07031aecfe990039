"""Seal: turn a journal into a Parquet file that is checked, and only then delete the journal.

    write X.parquet.tmp ─▶ read back, check ─▶ sync ─▶ rename to X.parquet ─▶ sync folder
                                               ─▶ delete X.arrows ─▶ sync folder

At each moment one of the two files holds all rows, and it can be told which: a temporary file is
never worth keeping, and a sealed file whose journal still exists belongs to the writer. The file
is checked before the rename because `close()` of a Parquet writer on a full disk has been seen to
succeed. It must hold what was read from the journal, see `format/sealed_file.py`.

A row group is gathered from whole batches up to `GROUP_ROWS` rows or `GROUP_BYTES` of messages, and
written by one `write_table`: `write_batch` would make one row group per call. Memory is bounded by
a row group, however long the journal is.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from trio_collector import layout
from trio_collector.disk import Disk
from trio_collector.errors import DiskError, JournalError, SealError
from trio_collector.format.header import Header
from trio_collector.format.journal_reader import JournalReader, open_journal
from trio_collector.format.sealed_file import (
    ARROW_ERRORS,
    Contents,
    Tally,
    check_sealed,
    render_metadata,
)
from trio_collector.schemas import file_schema
from trio_collector.writer.segment import sealed_path

GROUP_ROWS = 65_536
GROUP_BYTES = 64 * 1024 * 1024


class Sealed(msgspec.Struct, frozen=True):
    """A file that was sealed, and what its journal had lost."""

    path: Path
    header: Header
    rows: int
    size_bytes: int
    lost_rows: int
    lost_bytes: int


def seal(journal: Path, disk: Disk) -> Sealed:
    """Seal `journal` and delete it.

    Raises JournalError if it has no whole batch, SealError if the sealed file does not hold what
    the journal holds or its name is taken, and OSError; the journal is kept then, and the temporary
    file is removed if that is possible.
    """
    temporary, sealed = journal.with_suffix(layout.TEMPORARY), sealed_path(journal)
    if temporary.exists():  # of an attempt that could not remove it
        disk.unlink(temporary)
    with open_journal(journal) as reader:
        try:
            _write_checked(reader, temporary, disk)
            size_bytes = temporary.stat().st_size
            if sealed.exists():
                raise SealError(sealed, "exists, and does not belong to this journal")
            disk.rename(temporary, sealed)
        except (*ARROW_ERRORS, DiskError):
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


def _write_checked(reader: JournalReader, temporary: Path, disk: Disk) -> None:
    """Write all of `reader` to `temporary`, check it and sync it."""
    descriptor = disk.create(temporary)
    sink = _Sink(temporary, descriptor, disk)
    try:
        written = _write(reader, sink)
        found = check_sealed(temporary)
        if found != written:
            raise SealError(temporary, f"holds {found}, its journal {written}")
        disk.sync(descriptor)
    finally:
        sink.close()
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
        parquet.add_key_value_metadata(render_metadata(header, tally.contents))
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


class _Sink(io.RawIOBase):
    """A file that Parquet is written to through `Disk`, until it is closed.

    After an error Arrow's writer writes its footer when it is released, as late as that may be. The
    descriptor's number may belong to another file by then.
    """

    def __init__(self, path: Path, descriptor: int, disk: Disk) -> None:
        self._path = path
        self._descriptor = descriptor
        self._disk = disk

    def writable(self) -> bool:
        return True

    def write(self, content: memoryview) -> int:  # type: ignore[override]  # Arrow hands us bytes
        if self.closed:
            raise SealError(self._path, "is closed")
        taken = self._disk.write(self._descriptor, content)
        if taken != len(content):
            raise SealError(self._path, f"the disk took {taken} of {len(content)} bytes")
        return taken
