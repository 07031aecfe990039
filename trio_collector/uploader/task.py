"""The delivery of sealed files: from the spool to where they are kept.

    mode     into the store    then out of the spool
    local                      moved into local_path
    s3       upload, verify    removed
    both     upload, verify    moved into local_path

The writer wakes the uploader when a file is ready. What is to be done is read from the spool, oldest
first, and `upload_concurrency` files are under way at a time. A file that cannot be delivered stays
where it is and is tried again without end: see retry_schedule.py. Every step can be repeated without
harm, after an attempt or a process that came no further.

When the wake-ups end, each file is tried at once. What time alone can mend is tried until the task
is cancelled; what needs a person is tried once more and then left for the next start.
"""

import datetime
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

import structlog
import trio

from trio_collector.config.settings import AwsSection, StorageSection
from trio_collector.disk import LOCAL_DISK, Disk
from trio_collector.errors import StoreError, StoreRejected
from trio_collector.store.local_file import LocalFile
from trio_collector.store.object_store import ObjectStore
from trio_collector.telemetry.storage_state import DeliveryState
from trio_collector.threads import Workers, thread_workers
from trio_collector.uploader.backlog import Backlog, Job
from trio_collector.uploader.delivery import Upload
from trio_collector.uploader.local_archive import LocalArchive
from trio_collector.uploader.report import DELIVERY_ERRORS, Report
from trio_collector.uploader.retry_schedule import (
    REFRESH_S,
    Delays,
    RetrySchedule,
    RetryTimer,
    ScanTimer,
)
from trio_collector.uploader.spool import (
    SealedFile,
    check_unchanged,
    remove_empty_days,
    scan_spool,
)

log = structlog.get_logger(__name__)

DELAYS = Delays()


async def run_uploader(
    storage: StorageSection,
    wakeups: trio.MemoryReceiveChannel[None],
    *,
    aws: AwsSection | None = None,
    store: ObjectStore | None = None,
    state: DeliveryState | None = None,
    delays: Delays = DELAYS,
    now_s: Callable[[], float] = time.time,
    workers: Workers | None = None,
    disk: Disk = LOCAL_DISK,
) -> None:
    """Deliver what is in the spool until `wakeups` ends, and what is in it then; closes `wakeups`.

    Modes with a store need `aws` or a `store`. `state` shows the progress. Errors of disk and store
    are never raised. Cancelling waits for the file that is being moved, and a few seconds at most
    for multipart uploads to be aborted. It leaves every file in a state from which the next start
    goes on.
    """
    workers = workers or thread_workers()
    async with wakeups:
        if storage.mode == "local":
            store = None
        elif store is None:
            store = await workers.disk(partial(_open_store, aws or AwsSection(), workers))
        report = Report(state if state is not None else DeliveryState(), now_s)
        uploader = Uploader(
            storage, store, report=report, delays=delays, workers=workers, disk=disk
        )
        await uploader.run(wakeups)


def _open_store(aws: AwsSection, workers: Workers) -> ObjectStore:
    # Imported here because botocore takes 0.4 s and 27 MB, and a local archive needs none of it.
    from trio_collector.store.s3 import open_store

    return open_store(aws, workers)


class Uploader:
    """Keeps as many deliveries under way as there are slots."""

    def __init__(
        self,
        storage: StorageSection,
        store: ObjectStore | None,
        *,
        report: Report,
        delays: Delays,
        workers: Workers,
        disk: Disk,
    ) -> None:
        self._data_dir = Path(storage.data_dir)
        self._archive = (
            None if storage.mode == "s3" else LocalArchive(Path(storage.local_path), disk)
        )
        self._store = store
        self._report = report
        self._workers = workers
        self._disk = disk
        rng = random.Random()
        # Moving several local files at a time is no faster than one after another.
        self._schedule = RetrySchedule(storage.upload_concurrency if store else 1, delays, rng)
        self._scan_timer = ScanTimer(RetryTimer(delays, rng))
        self._backlog = Backlog(partial(self._new_job, delays, rng))
        self._tidied: datetime.date | None = None
        self._is_ending = False
        self._changed = trio.Event()

    async def run(self, wakeups: trio.MemoryReceiveChannel[None]) -> None:
        """Deliver until `wakeups` has ended and nothing is left that can be delivered."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, wakeups)
                if self._store:
                    nursery.start_soon(self._try_bucket, self._store)
                while True:
                    await self._scan_if_due()
                    while job := self._next_job():
                        nursery.start_soon(self._deliver, job)
                    self._report.state.active = self._backlog.active
                    if self._is_over():
                        break
                    await self._wait_change()
                nursery.cancel_scope.cancel()
        finally:
            if files := self._report.state.waiting_files:
                log.error("files left in the spool", data_dir=str(self._data_dir), files=files)

    async def _listen(self, wakeups: trio.MemoryReceiveChannel[None]) -> None:
        async for _ in wakeups:
            self._scan_timer.is_wanted = True
            self._changed.set()
        self._is_ending = True
        self._scan_timer.hurry()
        self._schedule.skip()
        self._backlog.hurry()
        self._changed.set()

    async def _try_bucket(self, store: ObjectStore) -> None:
        """Find out early what is wrong, and create a missing bucket: a file may be an hour away."""
        try:
            await store.ensure_bucket()
        except StoreRejected as exc:
            if exc.code != "AccessDenied":  # delivery needs no right to the bucket itself
                self._report.rejected(exc)
        except StoreError as exc:
            log.warning("store not reached", error=str(exc), remedy=exc.remedy)

    async def _scan_if_due(self) -> None:
        """Look into the spool if there may be news, unless the latest scan is too recent."""
        started = trio.current_time()
        if started < self._scan_timer.due:
            return
        self._scan_timer.begin()
        known = self._backlog.begin_scan()
        try:
            await self._tidy()
            scan = partial(scan_spool, self._data_dir, known, self._disk)
            spool = await self._workers.disk(scan)
        except OSError as exc:
            self._scan_timer.fail(started, exc)
            self._report.not_scanned(self._data_dir, exc)
            return
        self._scan_timer.end(started, trio.current_time())
        self._backlog.end_scan(spool)
        self._report.scanned(spool, self._backlog.in_hand)

    async def _tidy(self) -> None:
        """Remove empty folders of past days, once a day."""
        today = self._report.today()
        if today != self._tidied:
            self._tidied = today
            work = partial(remove_empty_days, self._data_dir, today, self._disk)
            await self._workers.disk(work)

    def _next_job(self) -> Job | None:
        """Return the file to try now; None if there is none, or no slot."""
        now = trio.current_time()
        if self._backlog.active >= self._schedule.slots or now < self._schedule.until:
            return None
        job = self._backlog.start_next(now)
        self._scan_timer.is_wanted |= self._backlog.needs_scan
        return job

    def _new_job(self, delays: Delays, rng: random.Random, sealed: SealedFile) -> Job:
        store, workers, disk = self._store, self._workers, self._disk
        upload = Upload(sealed, store, workers, disk) if store else None
        return Job(sealed, RetryTimer(delays, rng), upload)

    async def _wait_change(self) -> None:
        """Wait until there may be something to do."""
        with trio.move_on_at(self._next_time()):
            await self._changed.wait()
        self._changed = trio.Event()
        self._report.refresh()
        if self._report.state.waiting_files:  # which file is the oldest now, only the disk knows
            self._scan_timer.refresh(trio.current_time())

    def _next_time(self) -> float:
        """Return when to look again if nothing happens before."""
        times = [self._scan_timer.due]
        if self._backlog.active < self._schedule.slots:
            times.append(max(self._schedule.until, self._backlog.next_start()))
        if self._report.state.waiting_files and not self._backlog.active:
            times.append(trio.current_time() + REFRESH_S)
        return min(times)

    def _is_over(self) -> bool:
        if not self._is_ending or self._backlog.active:
            return False
        if self._scan_timer.is_wanted:
            return self._scan_timer.is_hopeless  # the disk does not answer
        return self._backlog.is_empty or self._backlog.is_stuck or self._schedule.is_rejected

    async def _deliver(self, job: Job) -> None:
        """Make one attempt at one file, and take note of the result."""
        try:
            await self._attempt(job)
        except FileNotFoundError as exc:
            if await self._is_gone(job.sealed.path):
                self._backlog.note_done(job)
                self._report.gone(job)
            else:
                self._note_failure(job, exc)
        except DELIVERY_ERRORS as exc:
            self._note_failure(job, exc)
        else:
            if self._schedule.is_broken:
                self._backlog.wake()
            self._schedule.note_success()
            self._backlog.note_done(job)
            self._report.delivered()
        self._changed.set()

    async def _is_gone(self, path: Path) -> bool:
        """Return whether it is certain that `path` is no longer there."""
        try:
            await self._workers.disk(partial(self._disk.stat, path))
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return False

    def _note_failure(self, job: Job, exc: Exception) -> None:
        now = trio.current_time()
        self._schedule.note_failure(now, exc)
        self._backlog.note_failed(job, now, exc, is_last_chance=self._is_ending)
        self._report.failed(job, exc, is_store_down=self._schedule.is_broken)

    async def _attempt(self, job: Job) -> None:
        """Deliver one file. Raises one of `DELIVERY_ERRORS`; the file is then still in the spool."""
        sealed = job.sealed
        if job.upload:
            key, content = await self._upload(job.upload, is_retry=job.timer.failures > 0)
            check = partial(check_unchanged, sealed.path, content.stamp, self._disk)
            await self._workers.disk(check)
            sealed = sealed._replace(key=key)
        if self._archive:
            path = await self._workers.disk(partial(self._archive.move, sealed))
            log.info("file archived", path=str(path))
        else:
            # Not synced: a file that a power loss brings back is found delivered.
            await self._workers.disk(partial(self._disk.unlink, sealed.path))

    async def _upload(self, upload: Upload, *, is_retry: bool) -> tuple[PurePosixPath, LocalFile]:
        """Bring a file into the store; return its key there, and the file as it was sent."""
        began = self._report.upload_began(is_retry=is_retry)
        try:
            key, content = await upload.attempt()
        except DELIVERY_ERRORS as exc:
            self._report.upload_failed(exc, began)
            raise
        self._report.uploaded(str(key), content.size, began)
        return key, content
