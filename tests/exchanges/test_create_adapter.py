"""From the configuration to an adapter."""

from typing import get_args

import msgspec
import pytest

from trio_collector.config.markets import ExchangeName, Market
from trio_collector.events import DataType, Event, FeedType
from trio_collector.exchanges import ADAPTERS, create_adapter
from trio_collector.exchanges.adapter import SnapshotRequest, Subscription

BOOK = [Subscription("X-Y", FeedType.ORDERBOOK)]


def test_every_exchange_of_the_configuration_has_an_adapter() -> None:
    """What can be configured can be created, under its own name, in one order."""
    assert list(ADAPTERS) == list(get_args(ExchangeName))
    for name in get_args(ExchangeName):
        adapter = create_adapter(Market(exchange=name, symbols=("X-Y",)))
        assert type(adapter) is ADAPTERS[name]
        assert adapter.name == name


@pytest.mark.parametrize(
    ("market", "text"),
    [
        (Market(exchange="binance", symbols=("X",)), "x-y@depth20@100ms"),
        (Market(exchange="binance", symbols=("X",), depth=5), "x-y@depth5@100ms"),
        (Market(exchange="binance", symbols=("X",), orderbook="partial"), "x-y@depth20@100ms"),
        (Market(exchange="binance", symbols=("X",), orderbook="diff"), "x-y@depth@100ms"),
        (Market(exchange="upbit", symbols=("X",)), "X-Y.30"),
        (Market(exchange="upbit", symbols=("X",), units=1), "X-Y.1"),
        (Market(exchange="okx", symbols=("X",)), '"books"'),
        (Market(exchange="okx", symbols=("X",), book_channel="bbo-tbt"), '"bbo-tbt"'),
        (Market(exchange="bybit", symbols=("X",)), "orderbook.50.X-Y"),
    ],
)
def test_options_reach_the_requests(market: Market, text: str) -> None:
    """The options of a market, or their defaults, are what is asked for."""
    [request] = create_adapter(market).build_subscribe_messages(BOOK)
    assert text in request.text


def test_options_reach_the_request_for_a_book() -> None:
    """Depth and address of Binance's books by HTTP are options."""
    market = Market(exchange="binance", symbols=("X",), orderbook="diff", base_url="wss://h")
    market = msgspec.structs.replace(market, snapshot_depth=5000, rest_url="https://r")
    request = create_adapter(market).snapshot_request("x")
    assert request == SnapshotRequest("https://r/api/v3/depth?symbol=X&limit=5000", 250)


BOTH, NONE = {DataType.ORDERBOOK, DataType.TRADE}, set[DataType]()


@pytest.mark.parametrize(
    ("market", "global_ids", "has_incremental_books"),
    [
        (Market(exchange="binance", symbols=("X",)), BOTH, False),
        (Market(exchange="binance", symbols=("X",), orderbook="diff"), BOTH, True),
        (Market(exchange="coinbase", symbols=("X",)), {DataType.TRADE}, True),
        (Market(exchange="upbit", symbols=("X",)), {DataType.TRADE}, False),
        (Market(exchange="okx", symbols=("X",)), BOTH, True),
        (Market(exchange="okx", symbols=("X",), book_channel="books5"), BOTH, False),
        (Market(exchange="bybit", symbols=("X",)), NONE, True),
        (Market(exchange="bybit", symbols=("X",), category="linear"), NONE, True),
    ],
)
def test_what_two_connections_may_rely_on(
    market: Market, global_ids: set[DataType], has_incremental_books: bool
) -> None:
    """Ids are alike on both only where that is documented or was seen."""
    adapter = create_adapter(market)
    assert adapter.global_ids == global_ids
    assert adapter.has_incremental_books == has_incremental_books


def test_category_reaches_the_url() -> None:
    """Bybit's category is a part of the URL."""
    market = Market(exchange="bybit", symbols=("X",), category="inverse")
    assert create_adapter(market).websocket_url().endswith("/v5/public/inverse")


def test_token_is_coinbases_alone() -> None:
    """A token goes into every request to Coinbase and to nobody else."""
    for name in get_args(ExchangeName):
        adapter = create_adapter(
            Market(exchange=name, symbols=("X",)), coinbase_token=lambda: "secret-token"
        )
        for request in adapter.build_subscribe_messages(BOOK):
            assert ("secret-token" in request.text) == (name == "coinbase")


def test_one_adapter_serves_many_connections() -> None:
    """Parsing leaves nothing behind: the same frame means the same again."""
    adapter = create_adapter(Market(exchange="bybit", symbols=("X",)))
    frame = b'{"topic":"orderbook.50.X","ts":5,"type":"delta","data":{"s":"X","b":[],"a":[],"u":9}}'
    event = Event("x", DataType.ORDERBOOK, "9", 5_000, 8, 9)
    assert adapter.parse_message(frame) == (event,)
    assert adapter.parse_message(frame) == (event,)
