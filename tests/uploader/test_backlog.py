"""Which file is tried next: the oldest that is not resting, tried before or not."""

import math
import random
from pathlib import Path, PurePosixPath

import pytest

from trio_collector.errors import StoreRejected, StoreUnavailable
from trio_collector.uploader import spool as spools
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


def test_files_in_hand() -> None:
    """Files that are active and files that rest are in hand; a scan need not find them."""
    backlog = backlog_of(1, 2, 3)
    assert (backlog.active, backlog.in_hand) == (0, 0)
    first, second = start(backlog), start(backlog)
    backlog.note_failed(first, 0.0, DOWN)
    assert (backlog.active, backlog.in_hand) == (1, 2)
    assert backlog.begin_scan() == {sealed(1).key, sealed(2).key}
    backlog.end_scan(spool_of(1, 2, 3, 4))
    backlog.note_done(second)
    assert (backlog.active, backlog.in_hand) == (0, 1)
    assert [start(backlog).sealed for _ in range(2)] == [sealed(3), sealed(4)]
    assert backlog.start_next(0.0) is None
    assert (backlog.active, backlog.in_hand) == (2, 3)


def test_needs_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the front is used up, a spool that holds more is looked into."""
    monkeypatch.setattr(spools, "FRONT", 2)
    backlog = backlog_of(1, 2)
    seen = [Backlog(new_job).needs_scan, backlog.needs_scan]
    for _ in range(2):
        start(backlog)
        seen.append(backlog.needs_scan)
    backlog.begin_scan()
    backlog.end_scan(spool_of(3))
    start(backlog)
    assert [*seen, backlog.needs_scan] == [False, False, False, True, False]


def test_first_to_be_rested() -> None:
    """The file that rests the shortest says when there is something to do."""
    backlog = backlog_of(1, 2)
    long, short = start(backlog), start(backlog)
    backlog.note_failed(long, 0.0, StoreRejected("no"))
    backlog.note_failed(short, 0.0, DOWN)
    assert backlog.next_start() == short.timer.until < long.timer.until
    assert backlog.start_next(short.timer.until - 0.01) is None
    assert start(backlog, short.timer.until) is short


def test_delivered_before_the_scan_and_there_again() -> None:
    """Only what was delivered since the scan began is left out: the same name may come again."""
    backlog = backlog_of(1)
    backlog.note_done(start(backlog))
    backlog.begin_scan()
    backlog.end_scan(spool_of(1))
    assert start(backlog).sealed == sealed(1)


def test_not_stuck_while_anything_can_be_done() -> None:
    """One file that was not tried yet, or only waits for the store, is reason to go on."""
    backlog = backlog_of(1, 2)
    hopeless = start(backlog)
    for _ in range(2):
        backlog.note_failed(hopeless, 0.0, StoreRejected("no"))
        hopeless.timer.skip()
        assert start(backlog) is hopeless
    backlog.note_failed(hopeless, 0.0, StoreRejected("no"))
    assert not backlog.is_stuck
    waiting = start(backlog)
    assert not backlog.is_stuck
    backlog.note_failed(waiting, 0.0, DOWN)
    assert not backlog.is_stuck


def test_hurry_and_wake() -> None:
    """At the end each file begins at once; when the store is back, those that waited for it."""
    backlog = backlog_of(1, 2)
    down, rejected = start(backlog), start(backlog)
    backlog.note_failed(down, 0.0, DOWN)
    backlog.note_failed(rejected, 0.0, StoreRejected("no"))
    backlog.wake()
    assert (down.timer.until, rejected.permanent_failures) == (-math.inf, 1)
    assert rejected.timer.until > 0
    backlog.hurry()
    assert (rejected.timer.until, rejected.permanent_failures) == (-math.inf, 0)


def test_last_chance_comes_once() -> None:
    """The second permanent failure rests, also at the end; so does what time may mend."""
    backlog = backlog_of(1)
    job = start(backlog)
    for exc, has_chance in [(OSError("io"), True), (OSError("io"), False), (DOWN, False)]:
        backlog.note_failed(job, 0.0, exc, is_last_chance=True)
        assert (job.timer.until == -math.inf) == has_chance
        assert start(backlog, now=math.inf) is job
    assert job.permanent_failures == 0


def test_oldest_of_those_that_are_rested() -> None:
    """Of several files whose rest is over the oldest goes first."""
    backlog = backlog_of(1, 2, 3)
    for job in [start(backlog) for _ in range(3)]:
        backlog.note_failed(job, 0.0, DOWN)
    assert [start(backlog, now=100.0).sealed for _ in range(3)] == [sealed(n) for n in (1, 2, 3)]


def test_older_file_that_is_found_late() -> None:
    """A file that was found later and is older goes before one that has rested."""
    backlog = backlog_of(2)
    rested = start(backlog)
    backlog.note_failed(rested, 0.0, DOWN)
    backlog.begin_scan()
    backlog.end_scan(spool_of(1, 3))
    assert [start(backlog, now=100.0).sealed for _ in range(3)] == [sealed(n) for n in (1, 2, 3)]


def test_new_job() -> None:
    """A file that was not tried yet has failed in no way, and may begin at once."""
    job = new_job(sealed(1))
    assert (job.sealed, job.upload, job.timer.until) == (sealed(1), None, 0)
    assert (job.logged, job.permanent_failures) == (set(), 0)
