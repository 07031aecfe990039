"""A simulated exchange: its markets, and the topics that connections share.

A message has the same ids and content on every connection: a topic renders each change once, and
every subscriber gets the same bytes. What differs between connections (Coinbase's sequence numbers)
is added by the subscriber.
"""

import abc
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from trio_collector.simulator.markets.market import (
    MEAN_TRADES_PER_MATCH,
    BookChange,
    Change,
    Market,
    MarketRates,
    Match,
    Quiet,
    shifted,
)
from trio_collector.simulator.net.frames import Frame, StreamKey, plain_symbol

# After a stall of the event loop a market catches up by this much at most.
MAX_CATCH_UP_MS = 200.0


class Subscriber(Protocol):
    """A connection, as the exchange sees it."""

    def deliver(self, topic: "Topic", frame: Frame) -> None:
        """Take one frame of a topic that it has joined."""
        ...

    def post(self, frames: Iterable[Frame]) -> None:
        """Take frames that are as they go out."""
        ...


class Topic(abc.ABC):
    """One view of one market, as clients subscribe to it under `name`."""

    data_type: str

    def __init__(self, name: str, market: Market, exchange_name: str) -> None:
        self.name = name
        self.market = market
        exchange, dot, family = exchange_name.partition(".")
        symbol = f"{plain_symbol(market.symbol)}{dot}{family}"
        self.stream = StreamKey(exchange, symbol, self.data_type)
        self.subscribers: dict[Subscriber, None] = {}  # in the order they came

    def snapshot(self, at_ms: int) -> Iterable[Frame]:
        """Return what a new subscriber is sent first."""
        return ()

    def on_book(self, change: BookChange) -> Iterable[Frame]:
        """Return the messages about a change of the book."""
        return ()

    def on_match(self, match: Match) -> Iterable[Frame]:
        """Return the messages about trades."""
        return ()

    def on_quiet(self, quiet: Quiet) -> Iterable[Frame]:
        """Return the messages that say that nothing changed."""
        return ()

    def render(self, change: Change) -> Iterable[Frame]:
        """Return the messages about `change`."""
        if isinstance(change, BookChange):
            return self.on_book(change)
        if isinstance(change, Match):
            return self.on_match(change)
        return self.on_quiet(change)


class ExchangeFacts(NamedTuple):
    """How an exchange differs from the others, whatever is subscribed."""

    exchange: str
    is_trade_per_message: bool = False
    quiet_ms: float = math.inf
    market_symbol: Callable[[str], str] = str  # the market behind a name


class SimulatedExchange:
    """The markets of one exchange, stepped together.

    Where an exchange has categories of markets that share their symbols, there is one object for each,
    named `bybit.linear`; its streams are recorded under `btcusdt.linear`.
    """

    def __init__(self, facts: ExchangeFacts, *, now_ms: float, name: str = "") -> None:
        self.facts = facts
        self.name = name or facts.exchange
        self.exchange = facts.exchange
        self.markets: dict[str, Market] = {}
        self._topics: dict[str, Topic] = {}
        self._topics_of: dict[str, list[Topic]] = {}
        self.stepped_ms = now_ms  # the time that the markets have reached
        self.shift_ms = 0  # how far the times in messages are off

    def list_markets(
        self, symbols: Sequence[str], *, books_per_s: float, trades_per_s: float, seed: str
    ) -> None:
        """Open a market for each of `symbols`."""
        per_match = MEAN_TRADES_PER_MATCH if self.facts.is_trade_per_message else 1.0
        rates = MarketRates(books_per_s, trades_per_s / per_match, self.facts.quiet_ms)
        for symbol in map(self.facts.market_symbol, symbols):
            self.markets[symbol] = Market(
                symbol,
                rates,
                random.Random(f"{seed}/{symbol}"),
                now_ms=self.stepped_ms,
                price_decimals=0 if symbol.startswith("KRW-") else 2,
            )

    def find(self, symbol: str) -> Market | None:
        """Return the market of `symbol`, spelled as the exchange does; None if there is none."""
        return self.markets.get(self.facts.market_symbol(symbol))

    def join(
        self, name: str, make: Callable[[], Topic], subscriber: Subscriber
    ) -> tuple[Topic, Iterable[Frame]]:
        """Subscribe to the topic `name`, made if nobody had it yet; return it and its snapshot."""
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = make()
            self._topics_of.setdefault(topic.market.symbol, []).append(topic)
        topic.subscribers[subscriber] = None
        return topic, topic.snapshot(int(self.stepped_ms) + self.shift_ms)

    def step(self, now_ms: float) -> None:
        """Let time pass up to `now_ms`: subscribers get what happens."""
        if now_ms - self.stepped_ms > MAX_CATCH_UP_MS:
            self.rest_until(now_ms - MAX_CATCH_UP_MS)
        self.stepped_ms = now_ms
        for symbol, market in self.markets.items():
            topics = self._topics_of.get(symbol, ())
            for change in market.step(now_ms):
                sent = shifted(change, self.shift_ms) if self.shift_ms else change
                for topic in topics:
                    _publish(topic, sent)

    def rest_until(self, now_ms: float) -> None:
        """Let time pass without a change."""
        for market in self.markets.values():
            market.rest(now_ms - self.stepped_ms)
        self.stepped_ms = now_ms


def _publish(topic: Topic, change: Change) -> None:
    if topic.subscribers:
        for frame in topic.render(change):
            for subscriber in topic.subscribers:
                subscriber.deliver(topic, frame)
