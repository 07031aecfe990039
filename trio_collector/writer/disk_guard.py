"""Load shedding: which rows are dropped when the disk is low or fails, and how many were.

New rows are shed while the disk has less than `min_free_bytes` left, and new rows of a stream while
its last append failed: the rows accepted before wait in memory until they can be written, and
memory is bounded. Rows of the ledger are always accepted; they are few, and say what is missing.
Every shed row is counted. Once a stream is accepted again, a `shed` row in the ledger tells how
many rows are missing, and of which time.

Shedding stops a little above the limit, so that it does not start and stop all the time.
"""

from collections.abc import Set
from typing import NamedTuple

import structlog

from trio_collector.events import Batch, DataType, Stream
from trio_collector.ledger import LedgerEvent, status_batch
from trio_collector.telemetry import metrics
from trio_collector.telemetry.storage_state import DiskState

log = structlog.get_logger(__name__)

REASON = "disk"

RESUME_SHARE = 0.05  # of min_free_bytes, above it


class _Shed(NamedTuple):
    rows: int
    from_us: int
    to_us: int


class DiskGuard:
    """Decides which rows are kept, and counts those that are not."""

    def __init__(self, min_free_bytes: int, state: DiskState) -> None:
        self._min_free_bytes = min_free_bytes
        self._state = state
        self._shed: dict[Stream, _Shed] = {}

    def note_free(self, free_bytes: int) -> None:
        """Note how many bytes the disk has left."""
        metrics.disk_free_bytes.set(free_bytes)
        self._state.free_bytes = free_bytes
        share = 1 + RESUME_SHARE * self._state.is_low
        is_low = free_bytes < self._min_free_bytes * share
        if is_low != self._state.is_low:
            self._state.is_low = is_low
            if is_low:
                log.error("disk is low, new rows are shed", free_bytes=free_bytes)
            else:
                log.info("disk has room again", free_bytes=free_bytes)

    def keeps(self, batch: Batch, is_failing: bool) -> bool:
        """Return whether new rows of a stream are kept."""
        is_ledger = batch.stream.data_type is DataType.STATUS
        return is_ledger or not (self._state.is_low or is_failing)

    def shed(self, batch: Batch) -> None:
        """Count rows that are not kept."""
        metrics.messages_dropped.labels(REASON).inc(batch.rows)
        self._state.rows_dropped += batch.rows
        at_us = batch.received_us
        before = self._shed.get(batch.stream, _Shed(0, at_us, at_us))
        self._shed[batch.stream] = _Shed(before.rows + batch.rows, before.from_us, at_us)

    def take_ledger(self, now_us: int, failing: Set[Stream] = frozenset()) -> list[Batch]:
        """Return a `shed` row for every stream whose rows are kept again."""
        kept = [] if self._state.is_low else [name for name in self._shed if name not in failing]
        return self._take(now_us, kept)

    def take_whole_ledger(self, now_us: int) -> list[Batch]:
        """Return a `shed` row for every stream, at the end of the process."""
        return self._take(now_us, list(self._shed))

    def _take(self, now_us: int, streams: list[Stream]) -> list[Batch]:
        rows = []
        for stream in streams:
            fields = {**self._shed.pop(stream)._asdict(), "reason": REASON}
            rows.append(unbudgeted(status_batch(stream, LedgerEvent.SHED, now_us, fields)))
        return rows


def unbudgeted(batch: Batch) -> Batch:
    """Return `batch` as one that the writer made itself: it holds no bytes of the budget."""
    batch.size_bytes = 0
    return batch
