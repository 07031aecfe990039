"""Which connections a configuration asks for.

One connection for each market and feed type, so that they fail apart; or, with
`streams_per_connection`, up to that many of one `[[markets]]` section together, within what the
exchange allows on a connection.

No stream may be fed twice, because its rows would be in the archive twice. The configuration has
rejected symbols that are spelled alike; only the adapter knows which other symbols are one market,
such as Coinbase's BTC-USD and BTC-USDC.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from trio_collector.config.markets import Market
from trio_collector.config.settings import WebsocketSection
from trio_collector.errors import ConfigError, Problem
from trio_collector.events import DATA_TYPE_OF, Stream, Topic
from trio_collector.exchanges.adapter import Adapter, Subscription, topic_of
from trio_collector.feed.health.adaptive_timeout import AdaptiveTimeout, FixedTimeout

# A feed without data for this many timeouts is stale: the Rust collector's rule, kept so that its
# configured values mean what they meant.
TIMEOUTS_TO_STALE = 3


class ConnectionPlan(msgspec.Struct, frozen=True):
    """What to connect to, and for which subscriptions."""

    name: str
    adapter: Adapter
    subscriptions: tuple[Subscription, ...]
    data_timeout_s: float
    lines: int = 1  # how many sessions carry it side by side
    learns_timeout: bool = False  # `data_timeout_s` is then where learning begins

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each line; the first has that of the connection."""
        return (self.name, *(f"{self.name} #{line}" for line in range(2, self.lines + 1)))

    @property
    def topics(self) -> dict[Topic, Subscription]:
        """The subscriptions of this connection, by the topic that acks and events carry."""
        return {topic_of(self.adapter, each): each for each in self.subscriptions}

    @property
    def streams(self) -> list[Stream]:
        return [Stream(self.adapter.name, *topic) for topic in self.topics]

    def open_timeouts(self) -> dict[Topic, AdaptiveTimeout]:
        """Return a new timeout for each topic."""
        timeout = AdaptiveTimeout if self.learns_timeout else FixedTimeout
        return {topic: timeout(self.data_timeout_s) for topic in self.topics}


def plan_connections(
    markets: Sequence[tuple[Market, Adapter]], websocket: WebsocketSection
) -> list[ConnectionPlan]:
    """Return the connections for `markets`, which are all of the configuration's, in their order.

    Raises ConfigError if two symbols feed the same stream.
    """
    problems = list(_find_shared_streams(markets))
    if problems:
        raise ConfigError(problems)
    return [
        connection
        for market, adapter in markets
        for connection in _plan_market(market, adapter, websocket)
    ]


def _find_shared_streams(markets: Sequence[tuple[Market, Adapter]]) -> Iterator[Problem]:
    """Yield a problem for each symbol that feeds a stream which an earlier one feeds."""
    first: dict[Stream, str] = {}
    for index, (market, adapter) in enumerate(markets):
        for position, symbol in enumerate(market.symbols):
            here = f"markets[{index}].symbols[{position}]"
            name = adapter.normalize_symbol(symbol)
            streams = [Stream(adapter.name, name, DATA_TYPE_OF[feed]) for feed in market.feeds]
            others = {first.setdefault(each, f"{symbol!r}, {here}") for each in streams}
            for other in sorted(others - {f"{symbol!r}, {here}"}):
                text = f"{symbol!r} of {adapter.name} feeds the streams of {other}"
                yield Problem(here, f"{text}; remove one of the two")


def _plan_market(
    market: Market, adapter: Adapter, websocket: WebsocketSection
) -> Iterable[ConnectionPlan]:
    size = min(websocket.streams_per_connection, adapter.limits.topics_per_connection)
    timeout_s = market.data_timeout_secs or websocket.message_timeout_secs
    wanted = [
        Subscription(symbol, feed)
        for symbol, feed in itertools.product(market.symbols, market.feeds)
    ]
    for start in range(0, len(wanted), size):
        subscriptions = tuple(wanted[start : start + size])
        yield ConnectionPlan(
            _name(adapter, subscriptions),
            adapter,
            subscriptions,
            timeout_s * TIMEOUTS_TO_STALE,
            lines=market.connections,
            learns_timeout=market.data_timeout_secs is None,
        )


def _name(adapter: Adapter, subscriptions: tuple[Subscription, ...]) -> str:
    first = subscriptions[0]
    more = f" +{len(subscriptions) - 1}" if len(subscriptions) > 1 else ""
    return f"{adapter.name}:{adapter.normalize_symbol(first.symbol)}:{first.feed}{more}"
