"""Names and paths, on disk and in the bucket.

A segment lives at `{root}/{exchange}/{symbol}/{data_type}/{server}/{YYYY-MM-DD}/{ms}`, where `ms`
is the time of its first row and `{server}` is left out when no name is set. The suffix tells its
state:

    .arrows         a journal: it grows, or waits to be sealed
    .parquet.tmp    a sealed file that is being written; never worth keeping
    .parquet        a sealed file: complete and checked

The `.parquet` path below the root is also the key in the store. Names that come from outside are
encoded so that every name is one path component of `A-Za-z0-9_.-` and `~`, reversibly.
"""

import datetime
import re
from pathlib import PurePosixPath
from typing import NamedTuple

from trio_collector.events import DataType, Stream

JOURNAL = ".arrows"
SEALED = ".parquet"
TEMPORARY = ".parquet.tmp"
QUARANTINE = "quarantine"
LOCK = ".lock"

US_PER_HOUR = 3_600_000_000

_UNSAFE = re.compile(rb"[^A-Za-z0-9_.\-]")
_ESCAPE = re.compile(rb"~([0-9a-f]{2})")


class SegmentPath(NamedTuple):
    """What a path below the root says: the stream, the server, and the time of the first row."""

    stream: Stream
    server: str | None
    first_ms: int


def encode_name(name: str) -> str:
    """Return `name` as one safe path component; `decode_name` gives `name` back.

    Every byte outside `A-Za-z0-9_.-`, and a dot in front, becomes `~` and two hexadecimal digits.
    """
    if not name:
        raise ValueError("an empty name cannot be a path component")
    encoded = _UNSAFE.sub(lambda match: b"~%02x" % match[0][0], name.encode())
    if encoded.startswith(b"."):
        encoded = b"~2e" + encoded[1:]
    return encoded.decode("ascii")


def decode_name(component: str) -> str:
    """Return the name that `encode_name` made `component` from."""
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), component.encode())
    return raw.decode()


def hour_of(received_us: int) -> int:
    """Return the number of the UTC hour since the epoch that `received_us` is in."""
    return received_us // US_PER_HOUR


def segment_path(stream: Stream, server: str | None, first_ms: int) -> PurePosixPath:
    """Return the path of a segment below the root, without a suffix."""
    day = datetime.datetime.fromtimestamp(first_ms / 1000, datetime.UTC).date().isoformat()
    parts = [encode_name(stream.exchange), encode_name(stream.symbol), stream.data_type.value]
    if server:
        parts.append(encode_name(server))
    return PurePosixPath(*parts, day, str(first_ms))


def parse_segment_path(path: PurePosixPath) -> SegmentPath | None:
    """Return what `path` (below the root, with a suffix or without) says; None if it is not ours."""
    exchange, symbol, data_type, *server, _day, name = _components(path)
    first_ms = name.split(".", 1)[0]
    if not first_ms.isdecimal() or data_type not in _DATA_TYPES or len(server) > 1:
        return None
    try:
        names = [decode_name(component) for component in (exchange, symbol, *server)]
    except UnicodeDecodeError:
        return None
    stream = Stream(names[0], names[1], DataType(data_type))
    return SegmentPath(stream, names[2] if server else None, int(first_ms))


def _components(path: PurePosixPath) -> tuple[str, ...]:
    """Return the parts of `path`, padded so that a path that is too short is not ours."""
    return ("",) * (5 - len(path.parts)) + path.parts


_DATA_TYPES = frozenset(DataType)
