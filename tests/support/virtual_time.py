"""Virtual time that does not begin at 0, where a sum passes for a difference."""

import trio
from trio.testing import MockClock

START_S = 4711.375  # odd, and exact in binary


def open_clock() -> MockClock:
    """Return a clock that jumps when nothing runs, from START_S on."""
    clock = MockClock(autojump_threshold=0)
    clock.jump(START_S)
    return clock


def elapsed_s() -> float:
    """Return the seconds since the test began, on such a clock."""
    return trio.current_time() - START_S
