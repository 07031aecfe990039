"""The journals that are growing, one per stream, and one round of work on them.

A round is all that is due at one moment, for all streams, in one visit to the worker thread; with
500 streams a visit for each would cost more than the work. Its steps:

1. append rows. Where that fails the journal ends as it is, and the rows are handed back;
2. end the journals whose hour, age or size is over;
3. sync all journals, or only those that have ended: nothing is handed on unsynced;
4. close those that have ended.

An error of the disk ends a journal, never the round. Only the worker thread calls this.
"""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from trio_collector.disk import Disk
from trio_collector.errors import JournalError
from trio_collector.events import Batch, Stream
from trio_collector.format.columns import UnfitRows, record_batch, separate
from trio_collector.format.header import new_header
from trio_collector.format.journal import Journal
from trio_collector.telemetry import metrics
from trio_collector.writer import rotation
from trio_collector.writer.segment import Spool, create_journal

log = structlog.get_logger(__name__)

# From here on one syncfs is cheaper than one fdatasync per file; it syncs what others have written
# on the same filesystem as well, so it is not worth it for a few.
GROUP_SYNC_FROM = 9


class FlushRound(NamedTuple):
    """The work of one round: rows to append, one list per stream, and which chores are due."""

    now_us: int
    due: Sequence[Sequence[Batch]] = ()
    looks: bool = False  # at the clock, which ends journals, and at the free space
    syncs: bool = False  # all journals, not only those that end
    ends: bool = False  # all journals


class ClosedJournal(NamedTuple):
    """A journal that nobody writes to any more; `rows` of it were acknowledged."""

    path: Path
    rows: int


class SegmentStart(NamedTuple):
    """A new segment, whose first row was received at `first_us`."""

    stream: Stream
    first_us: int


class FlushResult(msgspec.Struct):
    """What a round has done.

    `failed` holds the rows that could not be written, by stream, in their order.
    """

    written: list[Batch] = []
    started: list[SegmentStart] = []
    failed: dict[Stream, list[Batch]] = {}
    closed: list[ClosedJournal] = []
    error: str | None = None  # the latest
    free_bytes: int | None = None
    open_journals: int = 0
    journal_bytes: int = 0


class Journals:
    """All journals that are open."""

    def __init__(self, spool: Spool, limits: rotation.SegmentLimits, disk: Disk) -> None:
        self._spool = spool
        self._limits = limits
        self._disk = disk
        self._open: dict[Stream, Journal] = {}
        self._ended: list[Journal] = []
        self._changed_folders: set[Path] = set()
        self._reported: set[Stream] = set()  # as having rows that do not fit
        self._root: int | None = None  # a descriptor for syncfs, see disk.py

    def work(self, todo: FlushRound) -> FlushResult:
        """Do one round."""
        result = FlushResult()
        self._append_all(todo.due, result)
        if todo.looks:
            result.free_bytes = self._free_bytes(result)
        self._end_by_limits(todo)
        self._sync([*self._open.values(), *self._ended] if todo.syncs else self._ended, result)
        self._close_ended(result)
        result.open_journals = len(self._open)
        result.journal_bytes = sum(each.size.size_bytes for each in self._open.values())
        if todo.ends:
            self._close_root()
        return result

    def _append_all(self, due: Iterable[Sequence[Batch]], result: FlushResult) -> None:
        for batches in due:
            for part in rotation.appends(batches):
                self._append_part(part, result)

    def _append_part(self, part: Sequence[Batch], result: FlushResult) -> None:
        """Append `part`, which is of one stream and one hour; note in `result` how that went."""
        stream = part[0].stream
        if stream in result.failed:  # rows stay in their order
            result.failed[stream] += part
            return
        try:
            self._append(part, result)
        except UnfitRows as exc:
            self._append_apart(part, exc, result)
        except (OSError, JournalError) as exc:
            self._end(stream)
            result.failed[stream] = list(part)
            _note_error(result, exc)
        else:
            result.written += part

    def _append_apart(self, part: Sequence[Batch], reason: UnfitRows, result: FlushResult) -> None:
        """Append the rows of `part` that fit, and then the others as `unparsed` rows."""
        sound, unfit = separate(part)
        self._report_unfit(unfit, reason)
        for rows in (sound, unfit):
            if rows:
                self._append_part(rows, result)

    def _report_unfit(self, unfit: Sequence[Batch], reason: UnfitRows) -> None:
        stream = unfit[0].stream
        metrics.unparsed.labels(stream.exchange).inc(sum(batch.rows for batch in unfit))
        if stream not in self._reported:
            self._reported.add(stream)
            log.warning("rows kept as unparsed", stream=stream, reason=str(reason))

    def _append(self, part: Sequence[Batch], result: FlushResult) -> None:
        """Append `part` to the open journal of its stream, or to a new one."""
        rows = record_batch(part)
        stream, received_us = part[0].stream, part[0].received_us
        journal = self._open.get(stream)
        if journal and not rotation.takes(journal.size, received_us, self._limits):
            self._end(stream)
            journal = None
        if journal is None:
            header = new_header(stream, self._spool.server, received_us)
            journal = create_journal(self._spool, header, self._disk, self._changed_folders)
            self._open[stream] = journal
            result.started.append(SegmentStart(stream, received_us))
        journal.append(rows)

    def _end(self, stream: Stream) -> None:
        """Take the journal of `stream` out of use, if it has one."""
        if journal := self._open.pop(stream, None):
            self._ended.append(journal)

    def _end_by_limits(self, todo: FlushRound) -> None:
        if not (todo.looks or todo.ends):
            return
        for stream, journal in list(self._open.items()):
            if todo.ends or rotation.is_over(journal.size, todo.now_us, self._limits):
                self._end(stream)

    def _sync(self, journals: Iterable[Journal], result: FlushResult) -> None:
        """Sync `journals` and all new names; what fails is ended and not tried again."""
        dirty = [journal for journal in journals if journal.is_dirty]
        if not dirty:
            return
        folders, self._changed_folders = self._changed_folders, set()
        if self._disk.has_group_sync and len(dirty) + len(folders) >= GROUP_SYNC_FROM:
            failed = self._sync_together(dirty, result)
        else:
            failed = self._sync_each(dirty, folders, result)
        if failed:
            log.error("journals not synced, new ones begin", count=len(failed), error=result.error)
        for journal in failed:
            if self._open.get(journal.header.stream) is journal:
                self._end(journal.header.stream)

    def _sync_together(self, dirty: list[Journal], result: FlushResult) -> list[Journal]:
        try:
            if self._root is None:
                self._root = self._disk.open_folder(self._spool.root)
            self._disk.sync_all(self._root)
        except OSError as exc:
            _note_error(result, exc)
            return dirty
        for journal in dirty:
            journal.is_dirty = False
        return []

    def _sync_each(
        self, dirty: list[Journal], folders: set[Path], result: FlushResult
    ) -> list[Journal]:
        failed = []
        lost_folders = set()
        for folder in folders:
            try:
                self._disk.sync_folder(folder)
            except OSError as exc:
                _note_error(result, exc)
                lost_folders.add(folder)
        for journal in dirty:
            try:
                journal.sync()
            except OSError as exc:
                _note_error(result, exc)
                failed.append(journal)
            else:
                if not lost_folders.isdisjoint(journal.path.parents):
                    failed.append(journal)
        return failed

    def _close_ended(self, result: FlushResult) -> None:
        ended, self._ended = self._ended, []
        for journal in ended:
            try:
                journal.close()
            except OSError as exc:
                _note_error(result, exc)
                log.warning("journal could not be closed", path=str(journal.path), error=str(exc))
            result.closed.append(ClosedJournal(journal.path, journal.rows))

    def _close_root(self) -> None:
        if self._root is not None:
            with contextlib.suppress(OSError):  # nothing was written on it
                self._disk.close(self._root)
            self._root = None

    def _free_bytes(self, result: FlushResult) -> int | None:
        try:
            return self._disk.free_bytes(self._spool.root)
        except OSError as exc:
            _note_error(result, exc)
            return None


def _note_error(result: FlushResult, exc: Exception) -> None:
    result.error = str(exc)
    metrics.parquet_write_errors.inc()
