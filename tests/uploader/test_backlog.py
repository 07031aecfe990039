"""Which file is tried next: the oldest that is not resting, tried before or not."""

import math
import random
from pathlib import Path, PurePosixPath

from trio_collector.errors import StoreRejected, StoreUnavailable
from trio_collector.uploader.backlog import Backlog, Job
from trio_collector.uploader.retry_schedule import Delays, RetryTimer
from trio_collector.uploader.spool import SealedFile, Spool

DOWN = StoreUnavailable("down")


def sealed(first_ms: int) -> SealedFile:
    key = PurePosixPath(f"binance/btcusdt/trade/2026-11-22/{first_ms}.parquet")
    return SealedFile(Path("/spool") / key, key)


def new_job(file: SealedFile) -> Job:
    return Job(file, RetryTimer(Delays(), random.Random(1)), None)


def backlog_of(*first_ms: int) -> Backlog:
    backlog = Backlog(new_job)
    backlog.begin_scan()
    backlog.end_scan(spool_of(*first_ms))
    return backlog


def spool_of(*first_ms: int) -> Spool:
    front = [sealed(each) for each in first_ms]
    return Spool(front, len(front), 0, None)


def start(backlog: Backlog, now: float = 0.0) -> Job:
    job = backlog.start_next(now)
    assert job is not None
    return job


def test_oldest_first() -> None:
    """Files start in their order, each once."""
    backlog = backlog_of(1, 2)
    assert [start(backlog).sealed for _ in range(2)] == [sealed(1), sealed(2)]
    assert backlog.start_next(0.0) is None
    assert backlog.active == 2


def test_rested_file_goes_before_younger_ones() -> None:
    """A file that failed has its turn back after its rest, and others go meanwhile."""
    backlog = backlog_of(1, 2, 3)
    first = start(backlog)
    backlog.note_failed(first, 0.0, DOWN)
    assert start(backlog).sealed == sealed(2)
    assert backlog.next_start() == -math.inf
    assert start(backlog, now=100.0) is first
    assert start(backlog, now=100.0).sealed == sealed(3)


def test_next_start() -> None:
    """With nothing but resting files, the first to be rested says when."""
    backlog = backlog_of(1)
    assert backlog.next_start() == -math.inf
    job = start(backlog)
    assert backlog.next_start() == math.inf
    backlog.note_failed(job, 10.0, DOWN)
    assert backlog.next_start() == job.timer.until


def test_what_was_delivered_during_a_scan_is_not_found_again() -> None:
    """A scan takes time: what left the spool meanwhile is not taken on."""
    backlog = backlog_of(1, 2)
    job = start(backlog)
    known = backlog.begin_scan()
    assert known == {sealed(1).key}
    backlog.note_done(job)
    backlog.end_scan(spool_of(1, 2))
    assert start(backlog).sealed == sealed(2)
    assert backlog.start_next(0.0) is None


def test_stuck() -> None:
    """It is stuck when every file was refused twice in a row, and nothing is under way."""
    backlog = backlog_of(1)
    assert not backlog.is_stuck
    for exc, is_stuck in [
        (StoreRejected("no"), False),
        (DOWN, False),
        (OSError("io"), False),
        (StoreRejected("no"), True),
    ]:
        job = start(backlog, now=math.inf)
        assert not backlog.is_stuck
        backlog.note_failed(job, 0.0, exc)
        assert backlog.is_stuck is is_stuck
    backlog.hurry()
    assert not backlog.is_stuck
    assert backlog.next_start() == -math.inf


def test_store_that_is_back() -> None:
    """Files that waited for the store have their turn at once; others go on resting."""
    backlog = backlog_of(1, 2, 3, 4)
    for exc in (DOWN, StoreRejected("no"), OSError("io")):
        backlog.note_failed(start(backlog), 0.0, exc)
    backlog.wake()
    assert [start(backlog).sealed for _ in range(2)] == [sealed(1), sealed(4)]
    assert backlog.start_next(0.0) is None


def test_last_chance() -> None:
    """At the end a first refusal is tried again at once, an outage after its rest."""
    backlog = backlog_of(1)
    job = start(backlog)
    backlog.note_failed(job, 0.0, DOWN, is_last_chance=True)
    assert backlog.next_start() > 0
    assert start(backlog, now=10.0) is job
    backlog.note_failed(job, 10.0, StoreRejected("no"), is_last_chance=True)
    assert backlog.next_start() == -math.inf


def test_empty() -> None:
    """It is empty when all was delivered."""
    backlog = backlog_of(1)
    assert not backlog.is_empty
    job = start(backlog)
    assert not backlog.is_empty
    backlog.note_done(job)
    assert backlog.is_empty
