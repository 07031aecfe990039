"""The delivery of sealed files: from the spool to where they are kept.

    mode     into the store    then out of the spool
    local                      moved into local_path
    s3       upload, verify    removed
    both     upload, verify    moved into local_path

The writer rings when a file is ready; what is to be done is read from the spool, oldest first, and
`upload_concurrency` files are under way at a time. A file that cannot be delivered stays where it is
and is tried again, for ever: see pace.py. Each step that was done before, by an attempt or a process
that came no further, does no harm when it is done again.

When the bell is gone each file is tried at once, and what only time can mend is tried until the task
is cancelled. What a person has to mend is tried once more and then left for the next start.
"""

import datetime
import math
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
import trio

from trio_collector.config.settings import AwsSection, StorageSection
from trio_collector.errors import DiskError, StoreError, StoreRejected
from trio_collector.store.object_store import ObjectStore
from trio_collector.telemetry.storage_state import DeliveryState
from trio_collector.threads import Workers, thread_workers
from trio_collector.uploader.backlog import Backlog, Job
from trio_collector.uploader.delivery import Upload
from trio_collector.uploader.local_archive import move_to_archive
from trio_collector.uploader.report import Report
from trio_collector.uploader.retry_schedule import Delays, RetrySchedule, RetryTimer
from trio_collector.uploader.spool import (
    SealedFile,
    check_version,
    remove_delivered,
    remove_empty_days,
    scan_spool,
)

log = structlog.get_logger(__name__)

# Looking through a spool of 100,000 files takes half a second: it may take this share of the time.
SCAN_SHARE = 0.1

# How fresh the figures of what waits are, at least.
REFRESH_S = 15.0

DELAYS = Delays()

FAILURES = (StoreError, DiskError, OSError)


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
) -> None:
    """Deliver what is in the spool until `wakeups` ends, and what is in it then; closes `wakeups`.

    Modes with a store need `aws`, or a `store`. `state` tells how it goes. Errors of disk and store
    never come out. Cancelling it waits for the file that is being moved, and a few seconds at most
    for uploads in parts to be aborted; it leaves no file in a state that the next start does not
    settle.
    """
    workers = workers or thread_workers()
    async with wakeups:
        if storage.mode == "local":
            store = None
        elif store is None:
            store = await workers.disk(partial(_open_store, aws or AwsSection(), workers))
        report = Report(state if state is not None else DeliveryState(), now_s)
        await Uploader(storage, store, report, delays, workers).run(wakeups)


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
        report: Report,
        delays: Delays,
        workers: Workers,
    ) -> None:
        self._data_dir = Path(storage.data_dir)
        self._archive = None if storage.mode == "s3" else Path(storage.local_path)
        self._store = store
        self._report = report
        self._workers = workers
        dice = random.Random()
        # Moving files on a disk gains nothing from company.
        self._schedule = RetrySchedule(storage.upload_concurrency if store else 1, delays, dice)
        self._survey_rest = RetryTimer(delays, dice)
        self._backlog = Backlog(partial(self._new_job, delays, dice))
        self._tidied: datetime.date | None = None
        self._surveyed = -math.inf
        self._wants_survey = True
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
                    await self._survey_if_due()
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
            self._wants_survey = True
            self._changed.set()
        self._is_ending = self._wants_survey = True
        self._survey_rest.until = self._schedule.until = -math.inf
        self._backlog.hurry()
        self._changed.set()

    async def _try_bucket(self, store: ObjectStore) -> None:
        """Find out early, and create the bucket if need be; the first file may be an hour away."""
        try:
            await store.ensure_bucket()
        except StoreRejected as exc:
            if exc.code != "AccessDenied":  # the right to look at the bucket itself is not needed
                self._report.refused(exc)
        except StoreError as exc:
            log.warning("store not reached", error=str(exc), remedy=exc.remedy)

    async def _survey_if_due(self) -> None:
        """Look into the spool if there may be news, and the last look is not too fresh."""
        now = trio.current_time()
        if not self._wants_survey or now < self._survey_rest.until:
            return
        self._wants_survey = False
        known = self._backlog.begin_scan()
        try:
            await self._tidy()
            spool = await self._workers.disk(partial(scan_spool, self._data_dir, known))
        except OSError as exc:
            self._wants_survey = True
            self._survey_rest.begin(now, exc)
            self._report.not_scanned(self._data_dir, exc)
            return
        then = trio.current_time()
        self._surveyed = then
        self._survey_rest.end(then + (then - now) / SCAN_SHARE)
        self._backlog.end_scan(spool)
        self._report.scanned(spool, self._backlog.in_hand)

    async def _tidy(self) -> None:
        """Remove empty folders of past days, once a day."""
        today = self._report.today()
        if today != self._tidied:
            self._tidied = today
            await self._workers.disk(partial(remove_empty_days, self._data_dir, today))

    def _next_job(self) -> Job | None:
        """Return the file to try now; None if there is none, or no slot."""
        now = trio.current_time()
        if self._backlog.active >= self._schedule.slots or now < self._schedule.until:
            return None
        job = self._backlog.start_next(now)
        self._wants_survey |= self._backlog.needs_scan
        return job

    def _new_job(self, delays: Delays, dice: random.Random, sealed: SealedFile) -> Job:
        upload = Upload(sealed, self._store, self._workers) if self._store else None
        return Job(sealed, RetryTimer(delays, dice), upload)

    async def _wait_change(self) -> None:
        """Wait until there may be something to do."""
        with trio.move_on_at(self._next_time()):
            await self._changed.wait()
        self._changed = trio.Event()
        self._report.refresh()
        if self._report.state.waiting_files and trio.current_time() > self._surveyed + REFRESH_S:
            self._wants_survey = True  # who is the oldest now is seen on disk alone

    def _next_time(self) -> float:
        """Return when to look again if nothing happens before."""
        times = [self._survey_rest.until] if self._wants_survey else []
        if self._backlog.active < self._schedule.slots:
            times.append(max(self._schedule.until, self._backlog.next_start()))
        if self._report.state.waiting_files and not self._backlog.active:
            times.append(trio.current_time() + REFRESH_S)
        return min(times, default=math.inf)

    def _is_over(self) -> bool:
        if not self._is_ending or self._backlog.active:
            return False
        if self._wants_survey:
            return self._survey_rest.failures > 1  # the disk does not answer
        return self._backlog.is_empty or self._backlog.is_stuck or self._schedule.is_refused

    async def _deliver(self, job: Job) -> None:
        """Try one file, and take note of what became of it."""
        try:
            if job.upload:
                await self._upload(job, job.upload)
            else:
                await self._move(job.sealed)
        except FileNotFoundError as exc:
            if await self._workers.disk(job.sealed.path.exists):
                self._note_failure(job, exc)
            else:
                self._backlog.note_done(job)
                self._report.gone(job)
        except FAILURES as exc:
            self._note_failure(job, exc)
        else:
            if self._schedule.is_broken:
                self._backlog.wake()
            self._schedule.note_success()
            self._backlog.note_done(job)
            self._report.delivered()
        self._changed.set()

    def _note_failure(self, job: Job, exc: Exception) -> None:
        now = trio.current_time()
        self._schedule.note_failure(now, exc)
        self._backlog.note_failed(job, now, exc, is_last_chance=self._is_ending)
        self._report.failed(job, exc, is_store_down=self._schedule.is_broken)

    async def _upload(self, job: Job, upload: Upload) -> None:
        with self._report.timing(is_retry=job.rest.failures > 0) as attempt:
            key, content = await upload.attempt()
            attempt.note(str(key), content.size)
        await self._workers.disk(partial(check_version, job.sealed.path, content.version))
        if self._archive:
            await self._move(job.sealed._replace(key=key))
        else:
            await self._workers.disk(partial(remove_delivered, job.sealed.path))

    async def _move(self, sealed: SealedFile) -> None:
        """Move a file into `local_path`, under its key."""
        assert self._archive
        path = await self._workers.disk(partial(move_to_archive, sealed, self._archive))
        log.info("file archived", path=str(path))
