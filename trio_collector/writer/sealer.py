"""The queue of journals to be sealed: one at a time, in a thread, and again if it fails.

What fails goes to the end of the queue and the queue rests for a while, so that a disk that is full
is not hammered and one bad journal holds up no other. Nothing is deleted on an error: a journal
that cannot be sealed is there at the next start.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import PurePosixPath

import msgspec
import structlog
import trio

from trio_collector.errors import DiskError
from trio_collector.events import Batch, Stream
from trio_collector.ledger import LedgerEvent, status_batch
from trio_collector.telemetry import metrics
from trio_collector.threads import Worker
from trio_collector.writer.context import WriterContext
from trio_collector.writer.disk_guard import unbudgeted
from trio_collector.writer.journals import ClosedJournal
from trio_collector.writer.recovery import Recovered, RecoveryAction, RecoveryStep, recover
from trio_collector.writer.row_buffer import retry_delay_s
from trio_collector.writer.seal import UNREADABLE, Sealed, remove

log = structlog.get_logger(__name__)


class _Job(msgspec.Struct):
    path: PurePosixPath  # below data_dir
    step: RecoveryStep
    acknowledged_rows: int | None  # None: an earlier process wrote it
    failures: int = 0


class Sealer:
    """Settles closed journals, those of this process and those it found."""

    def __init__(
        self,
        context: WriterContext,
        worker: Worker,
        *,
        ring: Callable[[], None],
        report: Callable[[Batch], None],
    ) -> None:
        self._context = context
        self._worker = worker
        self._wake_uploader = ring  # a sealed file is ready
        self._report = report  # takes rows of the ledger
        self._jobs: deque[_Job] = deque()
        self._failures = 0  # in a row
        self._has_job = trio.Event()
        self._ending = trio.Event()

    def add_leftovers(self, actions: Iterable[RecoveryAction]) -> None:
        """Take on what an earlier process left behind."""
        for step, path in actions:
            if step is RecoveryStep.DELIVER:
                self._wake_uploader()
            else:
                self._add(_Job(path, step, None))

    def add_closed(self, closed: ClosedJournal) -> None:
        """Take on a journal of this process."""
        path = PurePosixPath(closed.path.relative_to(self._context.folders.root))
        self._add(_Job(path, RecoveryStep.SETTLE, closed.rows))

    async def run(self) -> None:
        """Work until `end` is called; what is in the queue then stays there."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._work)
            await self._ending.wait()
            self._has_job.set()

    def end(self) -> None:
        """Let `run` return after the job it is at."""
        self._ending.set()

    async def drain(self) -> None:
        """Try every job once, and those that failed once more."""
        for _ in range(2):
            for _ in range(len(self._jobs)):
                await self._do(self._jobs.popleft())

    def give_up(self) -> None:
        """Say what is left for the next start."""
        for job in self._jobs:
            log.error("journal is left for the next start", path=str(job.path))

    async def _work(self) -> None:
        while not self._ending.is_set():
            if not self._jobs:
                self._has_job = trio.Event()
                await self._has_job.wait()
            elif not await self._do(self._jobs.popleft()):
                with trio.move_on_after(retry_delay_s(self._failures)):
                    await self._ending.wait()

    def _add(self, job: _Job) -> None:
        self._jobs.append(job)
        self._context.state.waiting_seals = len(self._jobs)
        self._has_job.set()

    async def _do(self, job: _Job) -> bool:
        """Do `job`, or queue it again; return whether it is done."""
        try:
            settled = await self._worker(partial(self._perform, job))
        except (*UNREADABLE, DiskError) as exc:
            self._note_failure(job, exc)
        else:
            self._failures = 0
            self._note_success(job, settled)
        self._context.state.waiting_seals = len(self._jobs)
        return self._failures == 0

    def _perform(self, job: _Job) -> Recovered | None:
        """Do `job`, in the thread."""
        if job.step is RecoveryStep.REMOVE:
            remove(self._context.folders.root / job.path, self._context.disk)
            return None
        started = time.perf_counter()
        settled = recover(
            job.path, self._context.folders, self._context.disk, job.acknowledged_rows or 0
        )
        metrics.seal_seconds.observe(time.perf_counter() - started)
        return settled

    def _note_failure(self, job: _Job, exc: BaseException) -> None:
        self._failures += 1
        job.failures += 1
        self._jobs.append(job)
        self._context.state.last_error = str(exc)
        metrics.parquet_write_errors.inc()
        if job.failures == 1:
            log.error("seal failed, will be tried again", path=str(job.path), error=str(exc))

    def _note_success(self, job: _Job, settled: Recovered | None) -> None:
        if settled is None or settled.step is RecoveryStep.REMOVE:
            log.info("removed what held no row", path=str(job.path))
            return
        rows = lost_rows = 0
        if settled.sealed:
            rows, lost_rows = settled.sealed.rows, settled.sealed.lost_rows
            self._note_sealed(settled.sealed)
        if job.acknowledged_rows is not None:
            lost_rows = job.acknowledged_rows - rows
        self._wake_uploader()
        is_news = job.acknowledged_rows is None and settled.step is not RecoveryStep.DROP
        if settled.stream and (lost_rows > 0 or is_news):
            fields = {
                "rows": rows,
                "lost_rows": lost_rows,
                "lost_bytes": settled.lost_bytes,
                "journal": str(job.path),
            }
            self._report_recovered(settled.stream, fields, is_loss=lost_rows > 0 or not rows)

    def _note_sealed(self, sealed: Sealed) -> None:
        exchange, symbol, _data_type = sealed.header.stream
        metrics.parquet_rows_written.inc(sealed.rows)
        metrics.parquet_files_rotated.labels(exchange, symbol).inc()
        self._context.state.rows_sealed += sealed.rows
        self._context.state.files_sealed += 1
        log.info("segment sealed", path=str(sealed.path), rows=sealed.rows, bytes=sealed.size_bytes)

    def _report_recovered(
        self, stream: Stream, fields: dict[str, object], *, is_loss: bool
    ) -> None:
        """Say in log and ledger what of a journal was salvaged and what was not."""
        say = log.error if is_loss else log.info
        say("journal recovered", **fields)
        row = status_batch(stream, LedgerEvent.RECOVERED, self._context.now_us(), fields)
        self._report(unbudgeted(row))
