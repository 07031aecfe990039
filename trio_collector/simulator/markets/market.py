"""A random market: book changes and trades, the same for the same generator.

Book changes and matches come as two Poisson processes. All dice are thrown per event and events
are timed one by one, so however time is cut into steps, the same events come out at the same times.

Invariants: the best bid is below the best ask; each side has `LEVELS` levels; ids have no gaps:

    every level that changes     takes one update id (Binance U..u, OKX seqId)
    every change of the book     takes one number    (Bybit u)
    every trade                  takes one trade id

A trade prints at the best price and leaves the book as it is: exchanges send the two on separate
channels without a common order, so no reader can notice.
"""

import math
import random
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from trio_collector.simulator.markets.book_side import LEVELS, BookSide, Level

SIZE_DECIMALS = 6
HISTORY = 20  # past trades that an exchange can send to a new subscriber
MEAN_TRADES_PER_MATCH = 1.5
MAX_LEVELS_PER_CHANGE = 4
MAX_SPREAD = 20


class MarketRates(NamedTuple):
    """Mean rates of a market; after `quiet_ms` without a change of the book it yields Quiet."""

    books_per_s: float
    matches_per_s: float
    quiet_ms: float = math.inf


class Book(NamedTuple):
    """All levels, best first, and the ids of the latest change."""

    bids: list[Level]
    asks: list[Level]
    last_id: int
    number: int


class BookChange(NamedTuple):
    """Levels with their new sizes, 0 for a level that is gone."""

    at_ms: int
    bids: list[Level]
    asks: list[Level]
    first_id: int
    last_id: int
    number: int


class Trade(NamedTuple):
    """One fill."""

    id: int
    at_ms: int
    price: int
    size: int
    is_taker_buy: bool


class Match(NamedTuple):
    """The trades of one taker's order, all at one price, oldest first."""

    at_ms: int
    trades: list[Trade]


class Quiet(NamedTuple):
    """The book has not changed for `quiet_ms`."""

    at_ms: int


Change = BookChange | Match | Quiet


def shifted(change: Change, shift_ms: int) -> Change:
    """Return `change` with its times shifted by `shift_ms`."""
    at_ms = change.at_ms + shift_ms
    if isinstance(change, Match):
        trades = [trade._replace(at_ms=trade.at_ms + shift_ms) for trade in change.trades]
        return Match(at_ms, trades)
    return change._replace(at_ms=at_ms)


class Market:
    """One symbol; `price_decimals` and SIZE_DECIMALS say what its whole numbers mean."""

    def __init__(
        self,
        symbol: str,
        rates: MarketRates,
        rng: random.Random,
        *,
        now_ms: float,
        price_decimals: int = 2,
    ) -> None:
        self.symbol = symbol
        self.price_decimals = price_decimals
        self._rates = rates
        self._rng = rng
        self._start_price = rng.randint(20_000, 7_000_000)
        self._asks = BookSide(1, self._start_price + 1, rng)
        self._bids = BookSide(-1, self._start_price, rng)
        self.last_id = rng.randint(10**6, 10**9)  # of the latest change of the book
        self._number = rng.randint(10**4, 10**6)
        self._trade_id = rng.randint(10**6, 10**9)
        self.latest_trades: deque[Trade] = deque(maxlen=HISTORY)
        while len(self.latest_trades) < HISTORY:
            self._match(now_ms)
        self._change_due = now_ms + self._wait_ms(rates.books_per_s)
        self._match_due = now_ms + self._wait_ms(rates.matches_per_s)
        self._quiet_due = now_ms + rates.quiet_ms

    def step(self, now_ms: float) -> Iterator[Change]:
        """Yield the changes up to `now_ms`; while one is yielded the book is as it leaves it."""
        while True:
            due = min(self._change_due, self._match_due, self._quiet_due)
            if due > now_ms:
                return
            if due == self._change_due:
                self._change_due += self._wait_ms(self._rates.books_per_s)
                self._quiet_due = due + self._rates.quiet_ms
                yield self._change_book(due)
            elif due == self._match_due:
                self._match_due += self._wait_ms(self._rates.matches_per_s)
                yield self._match(due)
            else:
                self._quiet_due += self._rates.quiet_ms
                yield Quiet(int(due))

    def rest(self, pause_ms: float) -> None:
        """Postpone everything that is due by `pause_ms`."""
        self._change_due += pause_ms
        self._match_due += pause_ms
        self._quiet_due += pause_ms

    def book(self, depth: int = LEVELS) -> Book:
        """Return the book as it is, down to `depth` levels a side."""
        return Book(self._bids.top(depth), self._asks.top(depth), self.last_id, self._number)

    def _change_book(self, due: float) -> BookChange:
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        while not bids and not asks:
            for _ in range(self._rng.randint(1, MAX_LEVELS_PER_CHANGE)):
                self._move_levels(bids, asks)
        first_id = self.last_id + 1
        self.last_id += len(bids) + len(asks)
        self._number += 1
        return BookChange(
            int(due), list(bids.items()), list(asks.items()), first_id, self.last_id, self._number
        )

    def _move_levels(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        dice = self._rng.random()
        if dice < 0.15:
            self._walk(bids, asks)
            return
        side, levels = self._rng.choice(((self._bids, bids), (self._asks, asks)))
        if dice < 0.75:
            levels.update(side.resize())
        elif dice < 0.875:
            levels.update(side.thin())
        else:
            levels.update(side.thicken())

    def _walk(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        """Move the price one step, more likely back to where it began than away from it."""
        price, spread = self._bids.best, self._asks.best - self._bids.best
        is_up = self._rng.random() < self._start_price / (self._start_price + price)
        near, far = (self._bids, self._asks) if is_up else (self._asks, self._bids)
        near_levels, far_levels = (bids, asks) if is_up else (asks, bids)
        if spread > 1 and (spread > MAX_SPREAD or self._rng.random() < 0.5):
            near_levels.update(near.improve())
        else:
            far_levels.update(far.retreat())

    def _match(self, due: float) -> Match:
        is_taker_buy = self._rng.random() < 0.5
        price = self._asks.best if is_taker_buy else self._bids.best
        # 3 in 4 orders are filled by one trade, the others by 2 to 4: MEAN_TRADES_PER_MATCH.
        count = 1 if self._rng.random() < 0.75 else self._rng.randint(2, 4)
        trades = [self._trade(int(due), price, is_taker_buy) for _ in range(count)]
        self.latest_trades.extend(trades)
        return Match(int(due), trades)

    def _trade(self, at_ms: int, price: int, is_taker_buy: bool) -> Trade:
        self._trade_id += 1
        size = int(1_000_000 ** self._rng.random())
        return Trade(self._trade_id, at_ms, price, size, is_taker_buy)

    def _wait_ms(self, per_s: float) -> float:
        return self._rng.expovariate(per_s) * 1000 if per_s > 0 else math.inf
