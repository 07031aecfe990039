"""Connections from markets: how many, with what on each, under which name and limits."""

from typing import Any

import pytest

from tests.support.scripted_exchange import make_connection
from trio_collector.config.markets import Market
from trio_collector.config.settings import WebsocketSection
from trio_collector.errors import ConfigError
from trio_collector.events import DataType, FeedType, Stream, Topic
from trio_collector.exchanges import create_adapter
from trio_collector.exchanges.adapter import Limits, Subscription
from trio_collector.feed.planning.connections import (
    TIMEOUTS_TO_STALE,
    ConnectionPlan,
    plan_connections,
)

BOTH = (FeedType.ORDERBOOK, FeedType.TRADES)


def plan(*markets: Market, **websocket: Any) -> list[ConnectionPlan]:
    pairs = [(market, create_adapter(market)) for market in markets]
    return plan_connections(pairs, WebsocketSection(**websocket))


def test_one_connection_for_each_market_and_feed() -> None:
    """By default each feed of each symbol fails on its own; the names say which is which."""
    market = Market(exchange="binance", symbols=("BTCUSDT", "eth_usdt"), feeds=BOTH)
    connections = plan(market)
    assert [each.name for each in connections] == [
        "binance:btcusdt:orderbook",
        "binance:btcusdt:trades",
        "binance:ethusdt:orderbook",
        "binance:ethusdt:trades",
    ]
    assert all(len(each.subscriptions) == 1 for each in connections)


def test_streams_per_connection() -> None:
    """Up to so many subscriptions of one section share a connection, and its name counts them."""
    first = Market(exchange="okx", symbols=("BTC-USDT", "ETH-USDT"), feeds=BOTH)
    second = Market(exchange="okx", symbols=("SOL-USDT",), feeds=(FeedType.TRADES,))
    connections = plan(first, second, streams_per_connection=3)
    assert [(each.name, len(each.subscriptions)) for each in connections] == [
        ("okx:btcusdt:orderbook +2", 3),
        ("okx:ethusdt:trades", 1),
        ("okx:solusdt:trades", 1),
    ]


def test_the_exchange_limits_a_connection() -> None:
    """No connection carries more than the exchange allows."""
    symbols = tuple(f"COIN{number}-USDT" for number in range(30))
    market = Market(exchange="okx", symbols=symbols, feeds=(FeedType.ORDERBOOK,))
    sizes = [len(each.subscriptions) for each in plan(market, streams_per_connection=1000)]
    assert sizes == [29, 1]


def test_the_data_timeout() -> None:
    """A feed is stale after three timeouts: the market's own, else that of all connections."""
    own = Market(exchange="upbit", symbols=("KRW-BTC",), data_timeout_secs=100)
    common = Market(exchange="binance", symbols=("BTCUSDT",))
    timeouts = {each.data_timeout_s for each in plan(own, message_timeout_secs=7)}
    assert timeouts == {100 * TIMEOUTS_TO_STALE}
    timeouts = {each.data_timeout_s for each in plan(common, message_timeout_secs=7)}
    assert timeouts == {7 * TIMEOUTS_TO_STALE}


def test_a_timeout_that_is_set_is_not_learned() -> None:
    """`data_timeout_secs` is what counts; without it each topic learns its own."""
    own = Market(exchange="upbit", symbols=("KRW-BTC",), data_timeout_secs=100)
    common = Market(exchange="upbit", symbols=("KRW-ETH",))
    limits = {}
    for connection in plan(own, common, streams_per_connection=2):
        for topic, timeout in connection.open_timeouts().items():
            for second in range(2000):
                timeout.record_silence(1.0, second)
            limits[topic.symbol, topic.data_type] = timeout.limit_s
    assert limits == {
        ("krwbtc", DataType.ORDERBOOK): 300,
        ("krwbtc", DataType.TRADE): 300,
        ("krweth", DataType.ORDERBOOK): 10,
        ("krweth", DataType.TRADE): 10,
    }


def test_topics_and_streams_carry_normalised_names() -> None:
    """What is asked for in the exchange's spelling comes back under the name of the rows."""
    market = Market(exchange="bybit", symbols=("BTCUSDT",), category="linear", feeds=BOTH)
    (connection,) = plan(market, streams_per_connection=9)
    assert connection.topics == {
        Topic("btcusdt.linear", DataType.ORDERBOOK): Subscription("BTCUSDT", FeedType.ORDERBOOK),
        Topic("btcusdt.linear", DataType.TRADE): Subscription("BTCUSDT", FeedType.TRADES),
    }
    assert connection.streams == [
        Stream("bybit", "btcusdt.linear", DataType.ORDERBOOK),
        Stream("bybit", "btcusdt.linear", DataType.TRADE),
    ]


def test_two_symbols_of_one_stream_are_refused() -> None:
    """BTC-USD and BTC-USDC are one book at Coinbase: the problem names both, and where they are."""
    first = Market(exchange="coinbase", symbols=("ETH-USD", "BTC-USD"), feeds=BOTH)
    second = Market(exchange="coinbase", symbols=("BTC-USDC",), feeds=(FeedType.TRADES,))
    with pytest.raises(ConfigError) as caught:
        plan(first, second)
    (problem,) = caught.value.problems
    assert problem.place == "markets[1].symbols[0]"
    assert "'BTC-USDC' of coinbase" in problem.text
    assert "'BTC-USD', markets[0].symbols[1]" in problem.text


def test_two_symbols_of_one_section_are_refused() -> None:
    """They are found within one section, too, and reported once for all of its feeds."""
    market = Market(exchange="coinbase", symbols=("BTC-USD", "BTC-USDC"), feeds=BOTH)
    with pytest.raises(ConfigError) as caught:
        plan(market, streams_per_connection=9)
    assert [problem.place for problem in caught.value.problems] == ["markets[0].symbols[1]"]


def test_what_is_apart_may_be_together() -> None:
    """Different feeds of one book, markets of other exchanges and true USDC products are no clash."""
    connections = plan(
        Market(exchange="coinbase", symbols=("BTC-USD",), feeds=(FeedType.TRADES,)),
        Market(exchange="coinbase", symbols=("BTC-USDC",), feeds=(FeedType.ORDERBOOK,)),
        Market(exchange="coinbase", symbols=("USDT-USDC", "USDT-USD"), feeds=BOTH),
        Market(exchange="bybit", symbols=("BTCUSDT",), category="linear", feeds=BOTH),
        Market(exchange="bybit", symbols=("BTCUSDT",), feeds=BOTH),
    )
    streams = [stream for each in connections for stream in each.streams]
    assert len(set(streams)) == len(streams) == 10


def test_one_place_on_a_connection_at_least() -> None:
    """Where an exchange takes a single topic for each connection, every topic has its own."""
    adapter = make_connection(limits=Limits(connects=(), topics_per_connection=1)).adapter
    market = Market(exchange="binance", symbols=("A", "B"), feeds=(FeedType.TRADES,))
    connections = plan_connections([(market, adapter)], WebsocketSection(streams_per_connection=5))
    assert [each.name for each in connections] == ["scripted:a:trades", "scripted:b:trades"]
