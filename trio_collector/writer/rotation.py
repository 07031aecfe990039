"""When a segment ends, and how rows are cut before they are appended.

Invariants:

* All rows of a segment were received in one UTC hour, so the date in its path is exact.
* A segment ends with its hour, at its maximum age or at its maximum size, whichever comes first;
  hour and age also end a segment that receives no more rows.
* One append holds at most `MAX_APPEND_ROWS` rows, so that a record batch of the journal fits into
  one row group of the sealed file, and about `MAX_APPEND_BYTES` of frames: Arrow's 32-bit offsets
  end at 2 GiB, and memory while sealing follows the largest append.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from trio_collector.events import Batch
from trio_collector.format.journal import SegmentSize
from trio_collector.layout import hour_of

MAX_APPEND_ROWS = 65_536
MAX_APPEND_BYTES = 1024 * 1024

US_PER_S = 1_000_000


class SegmentLimits(NamedTuple):
    """The maximum age and size of a segment."""

    max_age_s: float
    max_bytes: int


def takes(size: SegmentSize, received_us: int, limits: SegmentLimits) -> bool:
    """Return whether rows that were received at `received_us` go into this segment."""
    return hour_of(size.first_us) == hour_of(received_us) and not is_full(size, limits)


def is_over(size: SegmentSize, now_us: int, limits: SegmentLimits) -> bool:
    """Return whether the segment ends now, by the wall clock or by its size."""
    return (
        hour_of(now_us) > hour_of(size.first_us)
        or now_us - size.first_us >= limits.max_age_s * US_PER_S
        or is_full(size, limits)
    )


def is_full(size: SegmentSize, limits: SegmentLimits) -> bool:
    """Return whether the segment has reached its maximum size."""
    return size.size_bytes >= limits.max_bytes


def appends(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Yield `batches` of one stream in the order given, cut into what one append may hold."""
    part: list[Batch] = []
    rows = size_bytes = 0
    for batch in batches:
        size = sum(map(len, batch.frames))
        if part and (
            hour_of(batch.received_us) != hour_of(part[0].received_us)
            or rows + batch.rows > MAX_APPEND_ROWS
            or size_bytes + size > MAX_APPEND_BYTES
        ):
            yield part
            part, rows, size_bytes = [], 0, 0
        part.append(batch)
        rows += batch.rows
        size_bytes += size
    if part:
        yield part
