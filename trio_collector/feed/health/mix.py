"""Whether an exchange still sends what it used to: the shares of kinds of messages, over time.

Messages are counted by kind (order books, trades, unparsed ones, acks, heartbeats ...) in windows of
5 minutes; a window with fewer than 1000 messages goes on until it has them. For each kind the range
of its shares is learned. The *shift* is how far a window lies outside of it:

    the largest |sqrt(share) - sqrt(edge of the range)|, less 4 standard errors

On the scale of square roots the error of a share, 1 / (2 sqrt(messages)), is the same for rare kinds
and frequent ones, and a kind that made up 4 % and is gone weighs as much as one that grew from 50 to
82 %: 0.2. The total variation would be 0.04 for the first and 0.32 for the second, which is how much
the share of trades moves between a quiet night and a busy hour.

For that reason the range is taken wider than it was seen, by a factor of 3 in the odds: trades that
were 5 to 20 % may be 1.7 to 43 %. Nothing widens a range that was 0.

In the first hour everything is learned and nothing reported. A window outside of the range moves its
edge by a 48th of the way, so that a change that lasts is reported for an hour or some hours and then
is how things are; and edges that are not reached come back by half in a week. More than 0.05 for
four windows is worth a look: weeks in which the rate of trades varied by a factor of 100, by hour
and by chance, had none of these in tests/feed/health/test_mix.py.
"""

import math

WINDOW_S = 300.0
LEAST_MESSAGES = 1000
WINDOWS_TO_LEARN = 12
ODDS = 3.0
ERRORS = 4.0
ADOPTED = 1 / 48  # of the way, in each window outside of the range
FORGOTTEN = math.log(2) / (7 * 86_400 / WINDOW_S)  # in each window inside of it


class _Range:
    """The shares of one kind that are usual."""

    __slots__ = ("high", "low")

    def __init__(self, share: float) -> None:
        self.low = self.high = share

    def widen(self, share: float) -> None:
        self.low, self.high = min(self.low, share), max(self.high, share)

    def approach(self, share: float) -> None:
        """Take note of a share; slowly."""
        self.low += (share - self.low) * (ADOPTED if share < self.low else FORGOTTEN)
        self.high += (share - self.high) * (ADOPTED if share > self.high else FORGOTTEN)

    def distance(self, share: float) -> float:
        """Return how far `share` is from what is usual, or may be, on the scale of roots."""
        low, high = _with_odds(self.low, 1 / ODDS), _with_odds(self.high, ODDS)
        root = math.sqrt(share)
        return max(0.0, root - math.sqrt(high), math.sqrt(low) - root)


def _with_odds(share: float, factor: float) -> float:
    """Return the share whose odds are `factor` times those of `share`."""
    return share * factor / (1 - share + share * factor)


class Mix:
    """The mix of one exchange's messages; `now` is monotonic, in seconds."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._counts: dict[str, int] = {}
        self._messages = 0
        self._ranges: dict[str, _Range] = {}
        self._windows = 0

    def count(self, kind: str, messages: int) -> None:
        """Note messages of a kind; there are few kinds."""
        self._counts[kind] = self._counts.get(kind, 0) + messages
        self._messages += messages

    def close_window(self, now: float) -> float | None:
        """Return the shift of the window that ends now, from 0 to 1; None while none ends."""
        if now < self._since + WINDOW_S or self._messages < LEAST_MESSAGES:
            return None
        kinds = self._counts.keys() | self._ranges.keys()
        shares = {kind: self._counts.get(kind, 0) / self._messages for kind in kinds}
        shift = 0.0 if self._windows < WINDOWS_TO_LEARN else self._shift(shares)
        self._learn(shares)
        self._since, self._counts, self._messages = now, {}, 0
        return shift

    def _shift(self, shares: dict[str, float]) -> float:
        farthest = max(self._range(kind).distance(share) for kind, share in shares.items())
        return max(0.0, farthest - ERRORS / (2 * math.sqrt(self._messages)))

    def _range(self, kind: str) -> _Range:
        """Return the usual shares of `kind`: none, if it has not been seen before."""
        return self._ranges.setdefault(kind, _Range(0.0))

    def _learn(self, shares: dict[str, float]) -> None:
        for kind, share in shares.items():
            if self._windows == 0:
                self._ranges[kind] = _Range(share)
            elif self._windows < WINDOWS_TO_LEARN:
                self._range(kind).widen(share)
            else:
                self._range(kind).approach(share)
        self._windows += 1
