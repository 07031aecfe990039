"""How long files wait after a failure, and when the spool is scanned again."""

import random

import pytest

from trio_collector.errors import (
    IntegrityError,
    StoreRejected,
    StoreThrottling,
    StoreUnavailable,
)
from trio_collector.uploader.retry_schedule import Delays, RetrySchedule, RetryTimer

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
