"""Who may go next, and when: the order of those who wait for an exchange's limit.

Whoever lost its connection first goes first; of equals, who asked first. A slot is booked when it
is taken and not before, so that one who leaves the queue takes nothing along.

`pace` makes of an exchange's limits the rates that are kept:

* a tenth slower, because what leaves here evenly does not arrive evenly: requests that the network
  delays meet those behind them;
* evenly where a limit is one of seconds: 3 a second are one every 0.37 s;
* ten a second at most where it is one of minutes (Binance: 300 in 5 minutes). To spread these
  evenly, too, would make 100 connections wait for 110 s instead of 10, and all that is won is room
  for a reconnect while the first 300 are not 5 minutes old.

Each process counts for itself. What an earlier one has used, or another on the same address uses,
is not known here.
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


def pace(rates: Iterable[Rate]) -> list[Rate]:
    """Return the rates to keep so that `rates` are never broken, nor spent in one burst."""
    rates = slacken(rates)
    if not rates:
        return []
    short = [rate.per_s / rate.times for rate in rates if rate.per_s <= EVENLY_S]
    return [Rate(1, max([1 / MOST_A_SECOND, *short])), *rates]


def open_shared_limiter(limits: Limits) -> RateLimiter:
    """Return a throttle of the messages on all connections together."""
    return RateLimiter(slacken([limits.requests_together] if limits.requests_together else []))


class Ticket(NamedTuple):
    """A place in the queue; the smallest goes first."""

    lost_at: float
    number: int
    weight: int  # under the rates of this queue
    shared: int  # under what it shares with others


class RateQueue:
    """The queue under `rates`; `now` is any clock in seconds that never goes back.

    `shared` is a throttle that other queues use, too.
    """

    def __init__(self, rates: Iterable[Rate] = (), shared: RateLimiter | None = None) -> None:
        self._limiter = RateLimiter(pace(rates))
        self._shared = shared or RateLimiter([])
        self._queue: list[Ticket] = []
        self._asked = 0
        self._closed_until = -math.inf

    def ask(self, lost_at: float = 0.0, weight: int = 1, shared: int = 0) -> Ticket:
        """Enter the queue."""
        self._asked += 1
        ticket = Ticket(lost_at, self._asked, weight, shared)
        bisect.insort(self._queue, ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give up a turn that was not taken."""
        del self._queue[bisect.bisect_left(self._queue, ticket)]

    def close(self, until: float) -> None:
        """Let nobody go before `until`."""
        self._closed_until = max(self._closed_until, until)

    @property
    def first(self) -> Ticket | None:
        """Who goes next."""
        return self._queue[0] if self._queue else None

    def due(self, ticket: Ticket, now: float) -> float:
        """Return when `ticket` may be taken, as it looks now; inf while others go first."""
        if ticket != self.first:
            return math.inf
        return max(
            self._limiter.earliest(now, ticket.weight),
            self._shared.earliest(now, ticket.shared) if ticket.shared else now,
            self._closed_until,
        )

    def take(self, ticket: Ticket, now: float) -> bool:
        """Take `ticket` and leave the queue, if its time has come; return whether it has."""
        if self.due(ticket, now) > now:
            return False
        self._limiter.reserve(now, ticket.weight)
        if ticket.shared:
            self._shared.reserve(now, ticket.shared)
        self.leave(ticket)
        return True
