"""The files to be delivered, in memory: the front of the spool, those active, and those that rest.

Pure bookkeeping. The disk is the truth: a file is forgotten here as soon as it is delivered, and a
file that is not known here yet is found by the next scan.
"""

import math
from collections import deque
from collections.abc import Callable
from pathlib import PurePosixPath

from trio_collector.errors import StoreError
from trio_collector.uploader.delivery import Upload
from trio_collector.uploader.retry_schedule import RetryTimer
from trio_collector.uploader.spool import SealedFile, Spool


class Job:
    """A file that is being delivered, or that rests until it is tried again."""

    def __init__(self, sealed: SealedFile, timer: RetryTimer, upload: Upload | None) -> None:
        self.sealed = sealed
        self.timer = timer
        self.upload = upload  # None: it goes into no store
        self.logged: set[type[Exception]] = set()  # kinds of failures
        self.permanent_failures = 0  # the latest, in a row, that time alone does not mend


class Backlog:
    """All jobs; `new_job` makes one of a file that was not tried before."""

    def __init__(self, new_job: Callable[[SealedFile], Job]) -> None:
        self._new_job = new_job
        self._front: deque[SealedFile] = deque()
        self._active: dict[PurePosixPath, Job] = {}
        self._resting: dict[PurePosixPath, Job] = {}
        self._delivered: set[PurePosixPath] = set()  # since the latest scan began
        self._has_more = False  # in the spool, behind the front

    @property
    def active(self) -> int:
        """How many attempts are under way."""
        return len(self._active)

    @property
    def in_hand(self) -> int:
        """How many files are active or rest."""
        return len(self._active) + len(self._resting)

    @property
    def needs_scan(self) -> bool:
        """Whether the front is used up, and there is more in the spool."""
        return self._has_more and not self._front

    @property
    def is_empty(self) -> bool:
        return not self._front and not self.in_hand

    @property
    def is_stuck(self) -> bool:
        """Whether all that is left was tried twice and needs a person."""
        if self._front or self._active:
            return False
        return all(job.permanent_failures > 1 for job in self._resting.values())

    def begin_scan(self) -> set[PurePosixPath]:
        """Return the files that are known and need not be found."""
        self._delivered.clear()
        return {*self._active, *self._resting}

    def end_scan(self, spool: Spool) -> None:
        """Take on the files that were found, without those delivered during the scan."""
        self._has_more = spool.has_more
        known = self._delivered | self._active.keys() | self._resting.keys()
        self._front = deque(sealed for sealed in spool.front if sealed.key not in known)

    def start_next(self, now: float) -> Job | None:
        """Return the oldest file that need not rest, as a job that is active."""
        rested = (job for job in self._resting.values() if job.timer.until <= now)
        job = min(rested, key=lambda job: _age_order(job.sealed), default=None)
        if self._front and (not job or _age_order(self._front[0]) < _age_order(job.sealed)):
            job = self._new_job(self._front.popleft())
        if job:
            self._resting.pop(job.sealed.key, None)
            self._active[job.sealed.key] = job
        return job

    def note_done(self, job: Job) -> None:
        """Forget a file that is no longer in the spool."""
        del self._active[job.sealed.key]
        self._delivered.add(job.sealed.key)

    def note_failed(
        self, job: Job, now: float, exc: Exception, *, is_last_chance: bool = False
    ) -> None:
        """Let a file rest, except for the last chance after its first permanent failure."""
        del self._active[job.sealed.key]
        self._resting[job.sealed.key] = job
        job.timer.fail(now, exc)
        needs_person = exc.is_permanent if isinstance(exc, StoreError) else True
        job.permanent_failures = job.permanent_failures + 1 if needs_person else 0
        if is_last_chance and job.permanent_failures == 1:
            job.timer.skip()

    def wake(self) -> None:
        """Let the files that waited for the store begin at once: it is back."""
        for job in self._resting.values():
            if not job.permanent_failures:
                job.timer.skip()

    def hurry(self) -> None:
        """Let every file begin at once: this is its last chance."""
        for job in self._resting.values():
            job.timer.skip()
            job.permanent_failures = 0

    def next_start(self) -> float:
        """Return the time from which on a file may be tried; infinity if there is none."""
        if self._front:
            return -math.inf
        return min((job.timer.until for job in self._resting.values()), default=math.inf)


def _age_order(sealed: SealedFile) -> tuple[int, PurePosixPath]:
    return int(sealed.key.stem), sealed.key
