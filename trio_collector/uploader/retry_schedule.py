"""When the next attempt may begin: for one file, and for all of them.

A file that fails rests for 1, 2, 4 ... 300 s, and the others go on, for what is wrong may be wrong
with it alone. Only when attempt after attempt fails, whatever the file, is it the store: then all
rest together, and one attempt at a time finds out if it is back. So a store that is away for days
is asked once in a few minutes, and one that fails at random loses no time. Once it is back, the files
that waited for it rest no longer, so that they leave oldest first.

Being asked to slow down makes all of them wait for a moment. What a person has to change is tried
with the longest delay at once.
"""

import random

import msgspec

from trio_collector.backoff import Backoff
from trio_collector.errors import StoreError, StoreThrottling, StoreUnavailable

BREATH_S = 1.0


class Delays(msgspec.Struct, frozen=True):
    """The first delay and the longest, in seconds."""

    first_s: float = 1.0
    longest_s: float = 300.0

    def backoff(self, dice: random.Random) -> Backoff:
        return Backoff(self.first_s, self.longest_s, dice)


class RetryTimer:
    """The rest of one file. `until` is a time of trio's clock."""

    def __init__(self, delays: Delays, dice: random.Random) -> None:
        self.failures = 0
        self.until = 0.0
        self._backoff = delays.backoff(dice)
        self._long_backoff = Backoff(delays.longest_s, delays.longest_s, dice)

    def begin(self, now: float, exc: Exception) -> None:
        """Rest, because of `exc`."""
        self.failures += 1
        is_long = isinstance(exc, StoreError) and exc.is_permanent
        asked_s = exc.retry_after_s if isinstance(exc, StoreError) else 0.0
        self.until = now + (self._long_backoff if is_long else self._backoff).next_delay(asked_s)

    def end(self, until: float) -> None:
        """End the rest in success; `until` is when the next attempt may begin nevertheless."""
        self.failures = 0
        self.until = until
        self._backoff.reset()


class RetrySchedule:
    """The rest of all; `slots` attempts run side by side while all is well."""

    def __init__(self, slots: int, delays: Delays, dice: random.Random) -> None:
        self.until = 0.0
        self._slots = slots
        self._delays = delays
        self._dice = dice
        self._backoff = delays.backoff(dice)
        self._failures = 0  # in a row
        self._refusals = 0  # in a row, that only a person can change

    @property
    def is_broken(self) -> bool:
        """Whether it is the store that fails. With half of all attempts failing at random, eight in
        a row happen once in 256 attempts, and cost a second."""
        return self._failures >= 2 * self._slots

    @property
    def is_refused(self) -> bool:
        """Whether the store refuses whatever it is asked."""
        return self._refusals >= 2 * self._slots

    @property
    def slots(self) -> int:
        """How many attempts may run side by side now."""
        return 1 if self.is_broken else self._slots

    def note_success(self) -> None:
        self._failures = self._refusals = 0
        self._backoff.reset()

    def note_failure(self, now: float, exc: Exception) -> None:
        """Take note of an attempt that failed; only what the store did counts."""
        if isinstance(exc, StoreThrottling):
            breath_s = min(BREATH_S, self._delays.first_s) * self._dice.uniform(0.75, 1.25)
            self.until = max(self.until, now + max(breath_s, exc.retry_after_s))
        if not isinstance(exc, StoreError) or not (
            exc.is_permanent or isinstance(exc, StoreUnavailable)
        ):
            return
        self._failures += 1
        self._refusals = self._refusals + 1 if exc.is_permanent else 0
        if self.is_broken:
            self.until = max(self.until, now + self._backoff.next_delay(exc.retry_after_s))
