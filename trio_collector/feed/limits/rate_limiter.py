"""How long to wait so that no limit of the kind "N within T seconds" is broken.

A sliding window: the slots booked within the latest `per_s` are remembered for each rate, and a new
slot lies at least `per_s` after those that leave no room for it. Any `per_s` seconds then hold at
most `times`, wherever they start. Slots are in the order of booking.

A slot has a weight, 1 unless the exchange counts otherwise. A slot heavier than a whole rate counts
as all of it.
"""

import math
from collections import deque
from collections.abc import Sequence

from trio_collector.exchanges.adapter import Rate


class RateLimiter:
    """Slots under several rates at once; `now` is any clock in seconds that never goes back."""

    def __init__(self, rates: Sequence[Rate]) -> None:
        self._windows = [_Window(rate) for rate in rates]
        self._latest = -math.inf

    def earliest(self, now: float, weight: int = 1) -> float:
        """Return when the next slot would be if it were booked now."""
        if not self._windows:
            return now
        return max(now, self._latest, *(window.room_at(weight) for window in self._windows))

    def reserve(self, now: float, weight: int = 1) -> float:
        """Book the next slot; return how many seconds to wait for it.

        A slot that is not used stays booked.
        """
        slot = self.earliest(now, weight)
        for window in self._windows:
            window.book(slot, weight)
        self._latest = slot if self._windows else self._latest
        return slot - now


class _Window:
    """The slots booked under one rate that later ones still have to keep away from."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._slots = deque[tuple[float, int]]()
        self._weight = 0  # of all of them

    def room_at(self, weight: int) -> float:
        """Return when the window has room for `weight`, looking at this rate only."""
        excess = self._weight + min(weight, self._rate.times) - self._rate.times
        for slot, booked in self._slots:
            if excess <= 0:
                break
            excess -= booked
            if excess <= 0:
                return slot + self._rate.per_s
        return 0.0

    def book(self, slot: float, weight: int) -> None:
        """Add a slot; drop those that are `per_s` or more before it."""
        while self._slots and self._slots[0][0] + self._rate.per_s <= slot:
            self._weight -= self._slots.popleft()[1]
        weight = min(weight, self._rate.times)
        self._slots.append((slot, weight))
        self._weight += weight
