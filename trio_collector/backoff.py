"""How long to wait before the next attempt: doubling, jittered, bounded.

The delay doubles from `initial_s`, and each is scattered by a quarter to both sides, so that feeds
that fell together do not come back together. Doubling stops where the scatter would pass `max_s`:
the longest delays lie between 0.6 and 1 times `max_s` instead of piling up on `max_s` itself.
"""

import random

JITTER = 0.25


class Backoff:
    """The delays of one feed; `rng` is the dice."""

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
