"""How long to wait before the next attempt: doubling, jittered, bounded.

The delay doubles from `initial_s`, and each is scattered by a quarter to both sides, so that feeds
that fell together do not come back together. Doubling stops where the scatter would pass `max_s`:
the longest delays lie between 0.6 and 1 times `max_s` instead of piling up on `max_s` itself.
"""

import email.utils
import random
from collections.abc import Callable

JITTER = 0.25


class Backoff:
    """The delays of one feed, or of one upload; `rng` scatters them."""

    def __init__(self, initial_s: float, max_s: float, rng: random.Random) -> None:
        self._ceiling_s = max_s / (1 + JITTER)
        self._initial_s = min(initial_s, self._ceiling_s)
        self._base_s = self._initial_s
        self._rng = rng

    def next_delay(self, at_least_s: float = 0.0) -> float:
        """Return how many seconds to wait now.

        `at_least_s` is what the other side asked for (Retry-After); it outranks `max_s`.
        """
        delay_s = self._base_s * self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._base_s = min(2 * self._base_s, self._ceiling_s)
        return max(delay_s, at_least_s)

    def reset(self) -> None:
        """Start over: the latest attempt was worth it."""
        self._base_s = self._initial_s


def parse_retry_after(
    text: str, now_s: float, longest_s: float, is_seconds: Callable[[str], bool] = str.isdecimal
) -> float | None:
    """Return how many seconds a Retry-After header asks for, at most `longest_s`.

    Both forms of RFC 9110 section 10.2.3 are read: seconds, for which `is_seconds` holds, and a
    date, to which `now_s` (Unix time) is compared. A date in the past asks for 0 s, text that is
    neither for None.
    """
    try:
        wait_s = float(text) if is_seconds(text) else parse_http_date(text) - now_s
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, wait_s), longest_s)


def parse_http_date(text: str) -> float:
    """Return a date of HTTP as Unix time; raises ValueError or OverflowError."""
    return email.utils.parsedate_to_datetime(text).timestamp()
