"""Opens when too much of what an exchange sends cannot be read.

An exchange that changes its format would otherwise fill the archive with `unparsed` rows without
anyone noticing. The breaker is open while, of at least `LEAST_FRAMES` frames of the latest
`WINDOW_S` seconds, half or more are unreadable.

Frames are counted in buckets of one second, so that memory and time do not depend on how many
there are: a frame counts for the rest of its second and the 59 seconds after that.
"""

from collections import deque

# DESIGN section 6.
WINDOW_S = 60
LEAST_FRAMES = 100
OPEN_SHARE = 0.5


class Breaker:
    """Counts readable and unreadable frames of one session; `now` never goes back."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, int, int]] = deque()  # second, readable, unreadable
        self._readable = 0
        self._unreadable = 0

    def record(self, readable: int, unreadable: int, now: float) -> bool:
        """Count a batch that came at `now` (s); return whether the breaker is open."""
        second = int(now)
        self._forget_until(second - WINDOW_S)
        if self._buckets and self._buckets[-1][0] == second:
            _, earlier_readable, earlier_unreadable = self._buckets.pop()
            bucket = (second, earlier_readable + readable, earlier_unreadable + unreadable)
        else:
            bucket = (second, readable, unreadable)
        self._buckets.append(bucket)
        self._readable += readable
        self._unreadable += unreadable
        return self.is_open

    @property
    def is_open(self) -> bool:
        """Whether too much was unreadable as of the latest `record`."""
        frames = self._readable + self._unreadable
        return frames >= LEAST_FRAMES and self._unreadable >= OPEN_SHARE * frames

    def _forget_until(self, second: int) -> None:
        while self._buckets and self._buckets[0][0] <= second:
            _, readable, unreadable = self._buckets.popleft()
            self._readable -= readable
            self._unreadable -= unreadable
