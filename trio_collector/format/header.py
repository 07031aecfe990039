"""The header of a journal: what is the same for every row, in the metadata of its schema.

Each header has a random salt, and every checksum starts from the header. So the bytes of a batch
inside a frame - sent by accident or in bad faith - are never taken for a batch of the journal while
a damaged file is searched.
"""

import secrets
import zlib
from typing import NamedTuple

import pyarrow as pa

from trio_collector import __version__
from trio_collector.events import DataType, Stream
from trio_collector.schemas import SCHEMA_VERSION, journal_schema


class Header(NamedTuple):
    """Which rows a journal holds, and who wrote it."""

    stream: Stream
    server: str | None
    first_us: int
    salt: str
    collector_version: str = __version__
    schema_version: str = SCHEMA_VERSION

    def schema(self) -> pa.Schema:
        """Return the journal's columns, with this header as their metadata."""
        stream = self.stream
        metadata = {
            "exchange": stream.exchange,
            "symbol": stream.symbol,
            "data_type": stream.data_type.value,
            "collector_version": self.collector_version,
            "schema_version": self.schema_version,
            "first_us": str(self.first_us),
            "salt": self.salt,
        }
        if self.server:
            metadata["server"] = self.server
        return journal_schema(stream.data_type).with_metadata(metadata)


def new_header(stream: Stream, server: str | None, first_us: int) -> Header:
    """Return the header of a journal that is about to be written."""
    return Header(stream, server, first_us, secrets.token_hex(8))


def parse_header(schema: pa.Schema) -> Header:
    """Return the header that `Header.schema` wrote into `schema`.

    Raises ValueError if it is incomplete, or the columns are not those of a journal.
    """
    found = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    try:
        header = Header(
            Stream(found["exchange"], found["symbol"], DataType(found["data_type"])),
            found.get("server"),
            int(found["first_us"]),
            found["salt"],
            found["collector_version"],
            found["schema_version"],
        )
    except KeyError as exc:
        raise ValueError(f"no {exc} in the header") from exc
    if not schema.equals(header.schema(), check_metadata=True):
        raise ValueError("not the columns of a journal")
    return header


def header_checksum(schema: pa.Schema) -> int:
    """Return the CRC32 that the checksum of every batch under this header starts from."""
    pairs = sorted((schema.metadata or {}).items())
    return zlib.crc32(b"\0".join(part for pair in pairs for part in pair))
