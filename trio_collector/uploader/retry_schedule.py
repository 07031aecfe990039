"""When the next attempt may begin: for one file, for all of them, and for a scan of the spool.

A file that fails rests for 1, 2, 4 ... 300 s while the others go on, because the fault may be its
own. Only when attempt after attempt fails, whatever the file, is the store considered down. Then all
files rest, and one attempt at a time finds out whether the store is back. A store that is down for
days gets one request every few minutes, and one that fails at random loses no time. Once it is back,
the files that waited for it rest no longer, so that the oldest leave first.

A store that throttles makes all files wait for a moment. Errors that need a person have the longest
delay from the first retry on.
"""

import math
import random

import msgspec

from trio_collector.backoff import Backoff
from trio_collector.errors import StoreError, StoreThrottling, StoreUnavailable

THROTTLE_PAUSE_S = 1.0

# A scan of 100,000 files takes 0.7 s. Scans may take this share of the time.
SCAN_SHARE = 0.1

# The figures of a spool that is not empty are at most this old.
REFRESH_S = 15.0


class Delays(msgspec.Struct, frozen=True):
    """The first delay and the longest, in seconds."""

    first_s: float = 1.0
    longest_s: float = 300.0

    def backoff(self, rng: random.Random) -> Backoff:
        return Backoff(self.first_s, self.longest_s, rng)


class RetryTimer:
    """When one thing may be tried again: from `until` on, a time of trio's clock."""

    def __init__(self, delays: Delays, rng: random.Random) -> None:
        self.failures = 0  # in a row
        self.until = 0.0
        self._backoff = delays.backoff(rng)
        self._long_backoff = Backoff(delays.longest_s, delays.longest_s, rng)

    def fail(self, now: float, exc: Exception) -> None:
        """Wait after an attempt that failed with `exc`, longer after each."""
        self.failures += 1
        is_long = isinstance(exc, StoreError) and exc.is_permanent
        asked_s = exc.retry_after_s if isinstance(exc, StoreError) else 0.0
        self.until = now + (self._long_backoff if is_long else self._backoff).next_delay(asked_s)

    def succeed(self, until: float) -> None:
        """Start over after an attempt that succeeded; the next may begin at `until`."""
        self.failures = 0
        self.until = until
        self._backoff.reset()

    def skip(self) -> None:
        """Let the next attempt begin at once."""
        self.until = -math.inf


class ScanTimer:
    """When the spool is scanned again: once there may be news in it, and not too often."""

    def __init__(self, timer: RetryTimer) -> None:
        self.is_wanted = True
        self._timer = timer
        self._ended = -math.inf  # of the latest scan

    @property
    def due(self) -> float:
        """The time from which on a scan may begin; infinity if none is wanted."""
        return self._timer.until if self.is_wanted else math.inf

    @property
    def is_hopeless(self) -> bool:
        """Whether a scan is wanted and has failed more than once."""
        return self.is_wanted and self._timer.failures > 1

    def begin(self) -> None:
        """Take note that a scan begins. News that arrive during it make another one wanted."""
        self.is_wanted = False

    def end(self, started: float, now: float) -> None:
        self._ended = now
        self._timer.succeed(now + (now - started) / SCAN_SHARE)

    def fail(self, now: float, exc: OSError) -> None:
        self.is_wanted = True
        self._timer.fail(now, exc)

    def refresh(self, now: float) -> None:
        """Want a scan if the figures of the latest one are too old."""
        if now > self._ended + REFRESH_S:
            self.is_wanted = True

    def hurry(self) -> None:
        """Want a scan at once."""
        self.is_wanted = True
        self._timer.skip()


class RetrySchedule:
    """When any file may be tried; `slots` attempts run side by side while all is well."""

    def __init__(self, slots: int, delays: Delays, rng: random.Random) -> None:
        self.until = 0.0
        self._slots = slots
        self._delays = delays
        self._rng = rng
        self._backoff = delays.backoff(rng)
        self._failures = 0  # of the store, in a row
        self._permanent_failures = 0  # of these the latest, in a row

    @property
    def is_broken(self) -> bool:
        """Whether the store is down.

        If half of all attempts fail at random, eight in a row fail once in 256 attempts, which then
        costs a second.
        """
        return self._failures >= 2 * self._slots

    @property
    def is_rejected(self) -> bool:
        """Whether the store rejects whatever it is sent."""
        return self._permanent_failures >= 2 * self._slots

    @property
    def slots(self) -> int:
        """How many attempts may run side by side now."""
        return 1 if self.is_broken else self._slots

    def note_success(self) -> None:
        self._failures = self._permanent_failures = 0
        self._backoff.reset()

    def note_failure(self, now: float, exc: Exception) -> None:
        """Take note of an attempt that failed. Only failures of the store count."""
        if isinstance(exc, StoreThrottling):
            pause_s = min(THROTTLE_PAUSE_S, self._delays.first_s) * self._rng.uniform(0.75, 1.25)
            self._wait_until(now + max(pause_s, exc.retry_after_s))
        if not isinstance(exc, StoreError) or not (
            exc.is_permanent or isinstance(exc, StoreUnavailable)
        ):
            return
        self._failures += 1
        self._permanent_failures = self._permanent_failures + 1 if exc.is_permanent else 0
        if self.is_broken:
            self._wait_until(now + self._backoff.next_delay(exc.retry_after_s))

    def skip(self) -> None:
        """Let the next attempt begin at once."""
        self.until = -math.inf

    def _wait_until(self, until: float) -> None:
        self.until = max(self.until, until)
