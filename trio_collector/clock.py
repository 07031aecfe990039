"""The wall clock, in the one unit that rows use."""

import time


def now_us() -> int:
    """Return microseconds since the Unix epoch."""
    return time.time_ns() // 1_000
