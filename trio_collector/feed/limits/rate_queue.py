"""Who goes next, and when: the queue of those who wait for an exchange's limit.

The one that lost its connection first goes first; of equals, the one that entered first. A slot is
booked when it is granted and not before, so that leaving the queue uses nothing.

`smooth` turns an exchange's limits into the rates that are kept:

* a tenth slower, because what leaves here evenly does not arrive evenly: the network delays some
  requests until those behind have caught up;
* evenly where the limit covers a few seconds: 3 a second become one every 0.37 s;
* at most ten a second where it covers minutes (Binance: 300 in 5 minutes). Spreading these evenly
  would make 100 connections wait for 110 s instead of 10, and would gain only room for a reconnect
  until the first of the 300 are 5 minutes old.

Each process counts its own use. What an earlier one, or another on the same address, has used is
not known here.
"""

import bisect
import math
from collections.abc import Iterable
from typing import NamedTuple

from trio_collector.exchanges.adapter import Limits, Rate
from trio_collector.feed.limits.rate_limiter import RateLimiter

SLACK = 1.1
MOST_A_SECOND = 10
EVENLY_S = 10.0  # a limit of so many seconds, or fewer, is spread evenly


def slacken(rates: Iterable[Rate]) -> list[Rate]:
    """Return `rates`, a tenth slower."""
    return [Rate(rate.times, rate.per_s * SLACK) for rate in rates]


def smooth(rates: Iterable[Rate]) -> list[Rate]:
    """Return the rates to keep so that `rates` are neither broken nor used up in one burst."""
    rates = list(rates)
    if not rates:
        return []
    short = slacken(rate for rate in rates if rate.per_s <= EVENLY_S)
    evenly_s = max([1 / MOST_A_SECOND, *(rate.per_s / rate.times for rate in short)])
    return [Rate(1, evenly_s), *slacken(rates)]


def open_shared_limiter(limits: Limits) -> RateLimiter:
    """Return the limiter of the messages on all connections together."""
    return RateLimiter(slacken([limits.requests_together] if limits.requests_together else []))


class Ticket(NamedTuple):
    """A place in the queue; the smallest goes first."""

    lost_at: float
    number: int
    weight: int  # under the rates of this queue
    shared: int  # under the limiter that is shared with other queues


class RateQueue:
    """The queue under `rates`; `now` is any clock in seconds that never goes back.

    `shared` is a limiter that other queues use, too.
    """

    def __init__(self, rates: Iterable[Rate] = (), shared: RateLimiter | None = None) -> None:
        self._limiter = RateLimiter(smooth(rates))
        self._shared = shared or RateLimiter([])
        self._queue: list[Ticket] = []
        self._entered = 0
        self._closed_until = -math.inf

    def enter(self, lost_at: float = 0.0, weight: int = 1, shared: int = 0) -> Ticket:
        """Enter the queue; return the ticket to grant or to leave with."""
        self._entered += 1
        ticket = Ticket(lost_at, self._entered, weight, shared)
        bisect.insort(self._queue, ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Leave the queue with a ticket that was not granted."""
        del self._queue[bisect.bisect_left(self._queue, ticket)]

    def close(self, until: float) -> None:
        """Grant nothing before `until`."""
        self._closed_until = max(self._closed_until, until)

    @property
    def first(self) -> Ticket | None:
        """The ticket that goes next; None if nobody waits."""
        return self._queue[0] if self._queue else None

    def due(self, ticket: Ticket, now: float) -> float:
        """Return when `ticket` may be granted, as it looks now; inf while others go first."""
        if ticket != self.first:
            return math.inf
        return max(
            self._limiter.earliest(now, ticket.weight),
            self._shared.earliest(now, ticket.shared) if ticket.shared else now,
            self._closed_until,
        )

    def grant(self, ticket: Ticket, now: float) -> bool:
        """Book a slot for `ticket` and take it out of the queue if it is due; return whether it was."""
        if self.due(ticket, now) > now:
            return False
        self._limiter.reserve(now, ticket.weight)
        if ticket.shared:
            self._shared.reserve(now, ticket.shared)
        self.leave(ticket)
        return True
