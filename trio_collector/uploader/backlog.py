"""What is to be delivered, in memory: the front of the spool, what is under way, and what rests.

Pure bookkeeping. The disk is the truth: what is here is forgotten as soon as the file is delivered,
and what is not yet here is found by the next survey.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from trio_collector.errors import StoreError
from trio_collector.uploader.delivery import Upload
from trio_collector.uploader.retry_schedule import RetryTimer
from trio_collector.uploader.spool import SealedFile, Spool


class Job:
    """A file that is being delivered, or rests until it is tried again."""

    def __init__(self, sealed: SealedFile, rest: RetryTimer, upload: Upload | None) -> None:
        self.sealed = sealed
        self.rest = rest
        self.upload = upload  # None: it goes to no store
        self.is_active = True
        self.told: set[type[Exception]] = set()  # kinds of failures that were logged
        self.refusals = 0  # the latest failures, in a row, that time alone does not mend


class Backlog:
    """All jobs there are; `new_job` makes one of a file that was not tried before."""

    def __init__(self, new_job: Callable[[SealedFile], Job]) -> None:
        self._new_job = new_job
        self._front: deque[SealedFile] = deque()
        self._jobs: dict[PurePosixPath, Job] = {}
        self._delivered: set[PurePosixPath] = set()  # since the last survey began
        self._has_more = False  # in the spool, behind the front

    @property
    def active(self) -> int:
        """How many attempts are under way."""
        return sum(job.is_active for job in self._jobs.values())

    @property
    def in_hand(self) -> int:
        """How many files are under way or rest."""
        return len(self._jobs)

    @property
    def needs_scan(self) -> bool:
        """Whether the front is used up, and there is more."""
        return self._has_more and not self._front

    @property
    def is_empty(self) -> bool:
        return not self._front and not self._jobs

    @property
    def is_stuck(self) -> bool:
        """Whether nothing is left but what was tried twice and waits for a person."""
        jobs = self._jobs.values()
        return not self._front and all(job.refusals > 1 and not job.is_active for job in jobs)

    def begin_scan(self) -> set[PurePosixPath]:
        """Return what need not be found, because it is known."""
        self._delivered.clear()
        return set(self._jobs)

    def end_scan(self, spool: Spool) -> None:
        """Take on what was found, but for what was delivered meanwhile."""
        self._has_more = spool.has_more
        known = self._delivered | self._jobs.keys()
        self._front = deque(sealed for sealed in spool.front if sealed.key not in known)

    def start_next(self, now: float) -> Job | None:
        """Return the oldest file that is not resting, as a job that is active."""
        rested = [job for job in self._resting() if job.rest.until <= now]
        oldest = min(rested, key=lambda job: _order(job.sealed), default=None)
        if self._front and (not oldest or _order(self._front[0]) < _order(oldest.sealed)):
            oldest = self._new_job(self._front.popleft())
            self._jobs[oldest.sealed.key] = oldest
        if oldest:
            oldest.is_active = True
        return oldest

    def note_done(self, job: Job) -> None:
        """Forget a file that is no longer in the spool."""
        del self._jobs[job.sealed.key]
        self._delivered.add(job.sealed.key)

    def note_failed(
        self, job: Job, now: float, exc: Exception, *, is_last_chance: bool = False
    ) -> None:
        """Let a file rest; after a first refusal not at all, if it is the last chance."""
        job.rest.begin(now, exc)
        job.is_active = False
        needs_person = exc.is_permanent if isinstance(exc, StoreError) else True
        job.refusals = job.refusals + 1 if needs_person else 0
        if is_last_chance and job.refusals == 1:
            job.rest.until = -math.inf

    def wake(self) -> None:
        """End the rests that only waited for the store: it is back, and what is oldest goes first."""
        for job in self._resting():
            if not job.refusals:
                job.rest.until = -math.inf

    def hurry(self) -> None:
        """End every rest: this is the last chance."""
        for job in self._resting():
            job.rest.until = -math.inf
            job.refusals = 0

    def next_start(self) -> float:
        """Return the time from which on a file may be tried; infinity if there is none."""
        if self._front:
            return -math.inf
        return min((job.rest.until for job in self._resting()), default=math.inf)

    def _resting(self) -> Iterator[Job]:
        return (job for job in self._jobs.values() if not job.is_active)


def _order(sealed: SealedFile) -> tuple[int, PurePosixPath]:
    return int(sealed.key.stem), sealed.key
