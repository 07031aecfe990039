"""The start on paper: when everything is subscribed, what would be faster, and what has no room."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.support.scripted_exchange import make_connection
from tests.support.virtual_time import elapsed_s
from trio_collector.config.markets import Market
from trio_collector.config.settings import WebsocketSection
from trio_collector.events import FeedType
from trio_collector.exchanges import create_adapter
from trio_collector.exchanges.adapter import Limits, Rate
from trio_collector.feed.limits.exchange_limits import ExchangeLimits
from trio_collector.feed.planning.connections import ConnectionPlan, plan_connections
from trio_collector.feed.planning.start_up_time import (
    Startup,
    in_words,
    plan_startup,
    room_problems,
    startup_hints,
)

SPELLINGS = {
    "binance": "C{}USDT",
    "bybit": "C{}USDT",
    "coinbase": "C{}-USD",
    "okx": "C{}-USDT",
    "upbit": "KRW-C{}",
}


def market_of(exchange: Any, symbols: int, *feeds: FeedType) -> Market:
    names = tuple(SPELLINGS[exchange].format(number) for number in range(symbols))
    return Market(exchange=exchange, symbols=names, feeds=feeds or tuple(FeedType))


def plan(*markets: Market, streams_per_connection: int = 1) -> list[ConnectionPlan]:
    pairs = [(market, create_adapter(market)) for market in markets]
    websocket = WebsocketSection(streams_per_connection=streams_per_connection)
    return plan_connections(pairs, websocket)


@pytest.mark.parametrize(
    ("exchange", "one_each", "many"),
    [
        ("binance", "5 min 50 s", "1 s"),
        ("bybit", "50 s", "1 s"),
        ("coinbase", "2 min 17 s", "3 s"),
        ("okx", "3 min 3 s", "7 s"),
        ("upbit", "1 min 50 s", "1 s"),
    ],
)
def test_500_markets_of_each_exchange(exchange: str, one_each: str, many: str) -> None:
    """The time to the last subscription, with a connection for each stream and with 100 on one."""
    market = market_of(exchange, 500, FeedType.TRADES)
    for size, words in ((1, one_each), (100, many)):
        (startup,) = plan_startup(plan(market, streams_per_connection=size))
        assert (startup.exchange, startup.subscriptions) == (exchange, 500)
        assert in_words(startup.subscribed_after_s) == words


async def test_paper_and_life_agree(autojump_clock: MockClock) -> None:
    """Feeds that wait for their turns are through when the plan says so."""
    connections = plan(market_of("okx", 50))
    exchange_limits = ExchangeLimits(connections[0].adapter.limits)
    async with trio.open_nursery() as nursery:
        for _connection in connections:
            nursery.start_soon(exchange_limits.wait_to_connect, 0.0)
    (startup,) = plan_startup(connections)
    assert elapsed_s() == pytest.approx(startup.subscribed_after_s)


def test_each_exchange_starts_on_its_own() -> None:
    """Exchanges do not wait for each other, and are told in the order of the configuration."""
    markets = (market_of("okx", 30), market_of("bybit", 30))
    alone = [plan_startup(plan(market))[0] for market in markets]
    assert plan_startup(plan(*markets)) == alone


def test_requests_take_their_time() -> None:
    """A connection with many requests is subscribed when the last of them is sent."""
    limits = Limits((Rate(1, 1.0),), 100, requests=Rate(1, 2.0))
    connection = make_connection(
        "trade a", "trade b", "trade c", limits=limits, topics_per_request=1
    )
    assert plan_startup([connection]) == [Startup("scripted", 1, 3, 4.0)]


def test_both_legs_count() -> None:
    """A connection with two legs connects twice, and has room for both."""
    limits = Limits((Rate(1, 10.0),), 100, connections=1)
    connection = make_connection(limits=limits)
    twice = ConnectionPlan(
        connection.name, connection.adapter, connection.subscriptions, 90.0, lines=2
    )
    assert plan_startup([twice]) == [Startup("scripted", 2, 2, 11.0)]
    assert room_problems([twice]) == []  # they go to two URLs
    assert len(room_problems([twice, twice])) == 2


def test_hints_are_for_slow_starts() -> None:
    """A slow start that could be faster has a hint with figures; a fast one has none."""
    markets = (market_of("okx", 100), market_of("bybit", 10))
    (hint,) = startup_hints(plan(*markets))
    assert hint.startswith("okx is subscribed after 1 min 13 s, ")
    assert hint.endswith("streams_per_connection = 29 it would take 7 connections and 3 s")
    assert startup_hints(plan(*markets, streams_per_connection=29)) == []


def test_what_has_no_room() -> None:
    """More connections than the exchange allows at a time are a problem, and what solves it."""
    market = market_of("bybit", 1200)
    (problem,) = room_problems(plan(market))
    assert problem.place == "websocket.streams_per_connection"
    assert "2400 connections to wss://stream.bybit.com/v5/public/spot, and bybit allows 1000" in (
        problem.text
    )
    assert problem.text.endswith("set it to 3 or more")
    assert room_problems(plan(market, streams_per_connection=3)) == []


def test_what_has_no_room_at_all() -> None:
    """Where full connections have no room either, markets go elsewhere."""
    limits = Limits((), topics_per_connection=1, connections=2)
    connection = make_connection(limits=limits)
    (problem,) = room_problems([connection] * 3)
    assert problem.text.endswith("divide the markets among machines (--shard)")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "at once"), (0.2, "1 s"), (59, "59 s"), (60, "1 min"), (60.1, "1 min 1 s")],
)
def test_words(seconds: float, words: str) -> None:
    """Durations are told as people tell them, and never too short."""
    assert in_words(seconds) == words
