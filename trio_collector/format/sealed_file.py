"""A sealed file read back: what its rows add up to, against what its metadata claim.

The metadata of a sealed Parquet file say how many rows it holds, their first and last sequence id
and time, and `content_sha256`: the SHA-256 over the bytes of `data` in row order. `Tally` computes
the same from the rows, while they are written and when a file is checked. Page checksums are
verified as well; a reader has to ask for them.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from trio_collector import __version__
from trio_collector.errors import SealError
from trio_collector.format.header import Header
from trio_collector.schemas import SCHEMA_VERSION

CHECK_ROWS = 2_048  # read at a time when a file is checked; memory follows it

# What reading or writing a file with Arrow may raise because of the disk or of memory.
ARROW_ERRORS = (OSError, pa.ArrowException, MemoryError)

_MAGIC = b"PAR1"


class Contents(msgspec.Struct):
    """What the rows of a file add up to. Times are in microseconds since the Unix epoch."""

    rows: int = 0
    first_id: str = ""
    last_id: str = ""
    first_us: int = 0
    last_us: int = 0
    sha256: str = ""


class Tally:
    """Adds up `Contents`, table by table."""

    def __init__(self) -> None:
        self.contents = Contents()
        self._digest = hashlib.sha256()

    def add(self, rows: pa.Table) -> None:
        """Add `rows`, which have the columns of a journal or of a sealed file."""
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


def check_sealed(path: Path) -> Contents:
    """Read all of the sealed file `path` and return what it holds.

    Raises SealError if that is not what its metadata claim, or if it is damaged, and OSError where
    the disk fails: that says nothing about the file.
    """
    try:
        _check_start(path)
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            tally = Tally()
            for rows in _tables(file):
                tally.add(rows)
            claimed = parse_metadata(file.metadata.metadata or {})
    except (*ARROW_ERRORS, ValueError, LookupError) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:  # the disk's; Arrow's have no number
            raise
        raise SealError(path, f"cannot be read: {exc}") from exc
    if claimed != tally.contents:
        raise SealError(path, f"holds {tally.contents}, its metadata say {claimed}")
    return tally.contents


def render_metadata(header: Header, contents: Contents) -> dict[str, str]:
    """Return the metadata of a sealed file that holds `contents`."""
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


def parse_metadata(metadata: Mapping[bytes, bytes]) -> Contents:
    """Return the contents that `render_metadata` described. Raises KeyError and ValueError."""
    return Contents(
        rows=int(metadata[b"rows"]),
        first_id=metadata[b"first_sequence_id"].decode(),
        last_id=metadata[b"last_sequence_id"].decode(),
        first_us=int(metadata[b"first_timestamp_collector"]),
        last_us=int(metadata[b"last_timestamp_collector"]),
        sha256=metadata[b"content_sha256"].decode(),
    )


def _check_start(path: Path) -> None:
    """Check the first bytes: pyarrow looks for the magic number at the end only."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise SealError(path, "does not start as a Parquet file")


def _tables(file: pq.ParquetFile) -> Iterator[pa.Table]:
    """Yield all rows, `CHECK_ROWS` at a time."""
    for group in range(file.num_row_groups):
        for rows in file.iter_batches(CHECK_ROWS, row_groups=[group], use_threads=False):
            yield pa.Table.from_batches([rows])


def _text_of(column: pa.Array) -> memoryview:
    """Return the bytes of all values of a column of strings or bytes, one behind the other."""
    _validity, offsets, text = column.buffers()
    first = struct.unpack_from("=i", offsets, 4 * column.offset)[0]
    end = struct.unpack_from("=i", offsets, 4 * (column.offset + len(column)))[0]
    return memoryview(text if text is not None else b"")[first:end]
