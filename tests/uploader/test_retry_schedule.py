"""How long files wait after a failure, and when the spool is scanned again."""

import math
import random

import pytest

from trio_collector.errors import (
    IntegrityError,
    StoreRejected,
    StoreThrottling,
    StoreUnavailable,
)
from trio_collector.uploader.retry_schedule import (
    REFRESH_S,
    Delays,
    RetrySchedule,
    RetryTimer,
    ScanTimer,
)

DOWN = StoreUnavailable("down")
DELAYS = Delays()


def schedule() -> RetrySchedule:
    return RetrySchedule(4, DELAYS, random.Random(1))


def new_timer() -> RetryTimer:
    return RetryTimer(DELAYS, random.Random(1))


def test_file_rests_longer_each_time() -> None:
    """A file rests for 1, 2, 4 … and at last up to 300 s."""
    timer = new_timer()
    delays = []
    for _ in range(12):
        timer.fail(100.0, DOWN)
        delays.append(timer.until - 100)
    assert delays[:5] == [pytest.approx(each, rel=0.26) for each in (1, 2, 4, 8, 16)]
    assert all(150 <= delay <= 300 for delay in delays[9:])
    assert timer.failures == 12


def test_refusal_rests_long_at_once() -> None:
    """What a person has to change is not asked for again soon."""
    timer = new_timer()
    timer.fail(0.0, StoreRejected("no"))
    assert 150 <= timer.until <= 300


def test_store_may_ask_for_more() -> None:
    """Retry-After outranks every delay."""
    timer = new_timer()
    timer.fail(0.0, StoreUnavailable("later", retry_after_s=1000.0))
    assert timer.until == 1000


def test_single_failures_hold_up_nobody() -> None:
    """While some attempts succeed, failures are the files' own business."""
    all_of_them = schedule()
    for _ in range(20):
        for _ in range(7):
            all_of_them.note_failure(0.0, DOWN)
        all_of_them.note_success()
    assert (all_of_them.until, all_of_them.slots, all_of_them.is_broken) == (0.0, 4, False)


def test_store_that_is_down() -> None:
    """When nothing succeeds all rest, and one at a time finds out whether it is over."""
    all_of_them = schedule()
    pauses = []
    for _ in range(20):
        before = all_of_them.until
        all_of_them.note_failure(before, DOWN)
        pauses.append(all_of_them.until - before)
    assert pauses[:7] == [0.0] * 7
    assert pauses[7:10] == [pytest.approx(each, rel=0.26) for each in (1, 2, 4)]
    assert all(150 <= each <= 300 for each in pauses[-2:])
    assert all_of_them.is_broken
    assert all_of_them.slots == 1
    all_of_them.note_success()
    assert all_of_them.slots == 4


def test_slowing_down() -> None:
    """One SlowDown lets all wait for a moment, or for as long as it says."""
    all_of_them = schedule()
    all_of_them.note_failure(10.0, StoreThrottling("slow down"))
    assert 10.7 < all_of_them.until < 11.3
    all_of_them.note_failure(10.0, StoreThrottling("slow down", retry_after_s=5.0))
    assert all_of_them.until == 15
    assert not all_of_them.is_broken


def test_other_failures_are_not_the_stores() -> None:
    """A bad disk, or one bad object, does not make the store look down."""
    all_of_them = schedule()
    for exc in [OSError("io"), IntegrityError("other")] * 20:
        all_of_them.note_failure(0.0, exc)
    assert not all_of_them.is_broken


def test_pause_is_no_longer_than_the_first_delay() -> None:
    """Where delays are short, so is the pause of a store that throttles."""
    all_of_them = RetrySchedule(4, Delays(first_s=0.1, longest_s=1.0), random.Random(1))
    all_of_them.note_failure(10.0, StoreThrottling("slow down"))
    assert all_of_them.until == pytest.approx(10.1, abs=0.026)


def test_pauses_never_shrink() -> None:
    """A short pause does not cut off a long one."""
    all_of_them = schedule()
    all_of_them.note_failure(0.0, StoreThrottling("slow down", retry_after_s=60.0))
    all_of_them.note_failure(0.0, StoreThrottling("slow down"))
    assert all_of_them.until == 60
    all_of_them.skip()
    assert all_of_them.until == -math.inf


def test_store_that_rejects_everything() -> None:
    """Only rejections in a row, and nothing else between, show that a person is needed."""
    all_of_them = schedule()
    for exc in [*[StoreRejected("no")] * 7, DOWN, *[StoreRejected("no")] * 7]:
        all_of_them.note_failure(0.0, exc)
        assert not all_of_them.is_rejected
    all_of_them.note_failure(0.0, StoreRejected("no"))
    assert (all_of_them.is_rejected, all_of_them.is_broken) == (True, True)
    all_of_them.note_success()
    assert (all_of_them.is_rejected, all_of_them.is_broken) == (False, False)


def test_delays_start_over() -> None:
    """After a success the delays begin with the first again, of a file and of all."""
    timer, all_of_them = new_timer(), schedule()
    for _ in range(12):
        timer.fail(0.0, DOWN)
        all_of_them.note_failure(0.0, DOWN)
    timer.succeed(7.0)
    assert (timer.failures, timer.until) == (0, 7.0)
    timer.fail(0.0, DOWN)
    assert timer.until == pytest.approx(1, rel=0.26)
    all_of_them.note_success()
    for _ in range(8):
        all_of_them.note_failure(1000.0, DOWN)
    assert all_of_them.until == pytest.approx(1001, abs=0.26)
    timer.skip()
    assert timer.until == -math.inf


def test_scan_is_due_at_the_start() -> None:
    """What an earlier process has left is looked for at once."""
    assert ScanTimer(new_timer()).due == 0


def test_scans_take_a_share_of_the_time() -> None:
    """A scan that took 2 s is followed by 20 s without one, however much there is to see."""
    scan = ScanTimer(new_timer())
    scan.begin()
    assert scan.due == math.inf
    scan.end(100.0, 102.0)
    assert scan.due == math.inf
    scan.is_wanted = True
    assert scan.due == 122


def test_news_during_a_scan() -> None:
    """What comes while a scan is under way needs another one."""
    scan = ScanTimer(new_timer())
    scan.begin()
    scan.is_wanted = True
    scan.end(100.0, 100.0)
    assert scan.due == 100


def test_figures_are_refreshed() -> None:
    """A scan is wanted when the latest one is too long ago, or was never made."""
    scan = ScanTimer(new_timer())
    scan.begin()
    scan.end(100.0, 100.0)
    scan.refresh(100 + REFRESH_S)
    assert scan.due == math.inf
    scan.refresh(101 + REFRESH_S)
    assert scan.due == 100
    scan = ScanTimer(new_timer())
    scan.begin()
    scan.refresh(0.0)
    assert scan.is_wanted


def test_failed_scan() -> None:
    """A scan that failed is wanted again, later each time; twice in a row is hopeless."""
    scan = ScanTimer(new_timer())
    dues = []
    for failures in range(1, 4):
        scan.begin()
        scan.fail(100.0, OSError("io"))
        dues.append(scan.due - 100)
        assert scan.is_hopeless == (failures > 1)
    assert dues == [pytest.approx(each, rel=0.26) for each in (1, 2, 4)]
    scan.hurry()
    assert scan.due == -math.inf
    scan.begin()
    assert not scan.is_hopeless
    scan.end(100.0, 100.0)
    scan.hurry()
    assert (scan.due, scan.is_hopeless) == (-math.inf, False)
