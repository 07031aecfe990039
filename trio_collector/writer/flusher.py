"""From memory to the journals: rounds of work, each one visit to the journal thread.

    take ─▶ disk guard ─▶ row buffer ─▶ round ─▶ journals ─▶ closed journals, to the sealer
              └─ shed                     │
                                          └─ rows that failed, back into the row buffer

A round starts when rows are due, or a chore: checking the limits of segments and the free space,
once a second, and syncing. Receiving goes on meanwhile; the next round takes what has arrived.

The bytes that a batch holds of the budget are released exactly once: when its rows are in a
journal, when they are shed, or when they are given up at the very end.
"""

from collections.abc import Callable
from functools import partial

import structlog
import trio

from trio_collector.budget import ByteBudget
from trio_collector.config.settings import StorageSection
from trio_collector.events import Batch, Stream
from trio_collector.telemetry import metrics
from trio_collector.threads import Worker
from trio_collector.writer.context import WriterContext
from trio_collector.writer.disk_guard import REASON, DiskGuard
from trio_collector.writer.journals import ClosedJournal, FlushResult, FlushRound, Journals
from trio_collector.writer.rotation import SegmentLimits
from trio_collector.writer.row_buffer import RowBuffer

log = structlog.get_logger(__name__)

LOOK_INTERVAL_S = 1.0

# At the end there is no later round: what fails is tried again soon, and then the rows are lost.
DRAIN_TRIES = 3
DRAIN_PAUSE_S = 0.3


class Flusher:
    """Takes rows and writes them. `end` lets `run` return; `drain` writes the rest."""

    def __init__(
        self,
        context: WriterContext,
        storage: StorageSection,
        budget: ByteBudget,
        *,
        worker: Worker,
        on_closed: Callable[[ClosedJournal], None],
        on_segment_start: Callable[[Stream, int], None],
    ) -> None:
        self._context = context
        self._budget = budget
        self._worker = worker
        self._on_closed = on_closed
        self._on_segment_start = on_segment_start  # with the time of its first row, in µs
        limits = SegmentLimits(storage.max_file_age_secs, storage.max_file_bytes)
        self._journals = Journals(context.spool, limits, context.disk)
        self._buffer = RowBuffer(storage.flush_interval_secs)
        self._disk_guard = DiskGuard(storage.min_free_bytes, context.state)
        self._looks = _Chore(LOOK_INTERVAL_S, first_after_s=0.0)
        self._syncs = _Chore(storage.sync_interval_secs, storage.sync_interval_secs)
        self._wake = trio.Event()
        self._is_ending = False

    @property
    def has_rows(self) -> bool:
        """Whether rows wait in memory."""
        return self._buffer.rows > 0

    def take(self, batch: Batch) -> None:
        """Buffer rows that were received, or shed them."""
        if not batch.rows:
            self._budget.release(batch.size_bytes)
        elif self._disk_guard.keeps(batch, batch.stream in self._buffer.failing):
            self.add(batch)
        else:
            self._disk_guard.shed(batch)
            self._budget.release(batch.size_bytes)

    def add(self, batch: Batch) -> None:
        """Buffer rows whatever the state of the disk."""
        due_at = self._buffer.due_at
        self._buffer.add(batch, trio.current_time())
        if self._buffer.has_full or self._buffer.due_at < due_at:
            self._wake.set()

    async def run(self) -> None:
        """Write what is due, when it is due, until `end` is called."""
        while not self._is_ending:
            await self._wait_due()
            now = trio.current_time()
            due = self._buffer.take_due(now)
            looks, syncs = self._looks.is_due(now), self._syncs.is_due(now)
            if due or looks or syncs:
                await self._work(FlushRound(self._context.now_us(), due, looks, syncs))

    def end(self) -> None:
        """Let `run` return after the current round."""
        self._is_ending = True
        self._wake.set()

    async def drain(self) -> None:
        """Write everything and close all journals; what cannot be written now is lost."""
        for batch in self._disk_guard.take_whole_ledger(self._context.now_us()):
            self.add(batch)
        for attempt in range(DRAIN_TRIES):
            if attempt:
                await trio.sleep(DRAIN_PAUSE_S)
            await self._work(FlushRound(self._context.now_us(), self._buffer.take_all(), ends=True))
            if not self._buffer.rows:
                return
        self._give_up()

    async def _wait_due(self) -> None:
        self._wake = trio.Event()
        if self._buffer.has_full or self._is_ending:
            return
        with trio.move_on_at(min(self._buffer.due_at, self._looks.due_at, self._syncs.due_at)):
            await self._wake.wait()

    async def _work(self, todo: FlushRound) -> None:
        try:
            result = await self._worker(partial(self._journals.work, todo))
        except trio.Cancelled:  # before it began: a worker never stops half way
            for batches in todo.due:
                self._buffer.give_back(batches[0].stream, batches)
            raise
        self._note_written(result)
        self._note_failed(result)
        if result.free_bytes is not None:
            self._disk_guard.note_free(result.free_bytes)
        self._context.state.open_journals = result.open_journals
        self._context.state.journal_bytes = result.journal_bytes
        self._context.state.last_error = result.error or self._context.state.last_error
        for started in result.started:
            self._on_segment_start(*started)
        for closed in result.closed:
            self._on_closed(closed)
        for batch in self._disk_guard.take_ledger(self._context.now_us(), self._buffer.failing):
            self.add(batch)
        metrics.parquet_rows_buffered.set(self._buffer.rows)
        self._context.state.rows_buffered = self._buffer.rows

    def _note_written(self, result: FlushResult) -> None:
        if not result.written:
            return
        rows = sum(batch.rows for batch in result.written)
        metrics.journal_rows.inc(rows)
        self._context.state.journal_rows += rows
        for stream in {batch.stream for batch in result.written} - result.failed.keys():
            self._buffer.note_written(stream)
        self._budget.release(sum(batch.size_bytes for batch in result.written))

    def _note_failed(self, result: FlushResult) -> None:
        now = trio.current_time()
        news = [
            stream
            for stream, batches in result.failed.items()
            if self._buffer.put_back(stream, batches, now)
        ]
        if news:
            log.error("rows cannot be written and wait", streams=len(news), error=result.error)
        self._context.state.failing_streams = len(self._buffer.failing)

    def _give_up(self) -> None:
        lost = [batch for batches in self._buffer.take_all() for batch in batches]
        rows = sum(batch.rows for batch in lost)
        metrics.messages_dropped.labels(REASON).inc(rows)
        metrics.parquet_rows_buffered.set(0)
        self._context.state.rows_dropped += rows
        self._context.state.rows_buffered = 0
        self._budget.release(sum(batch.size_bytes for batch in lost))
        log.error("rows could not be written", rows=rows, error=self._context.state.last_error)


class _Chore:
    """Work that is due at an interval, on the trio clock."""

    def __init__(self, interval_s: float, first_after_s: float) -> None:
        self.due_at = trio.current_time() + first_after_s
        self._interval_s = interval_s

    def is_due(self, now: float) -> bool:
        """Return whether it is due; if so, it is due again an interval later."""
        if now < self.due_at:
            return False
        self.due_at = now + self._interval_s
        return True
