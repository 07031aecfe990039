"""Markets are checked together: a market is the same however it is spelled."""

from trio_collector.config.market_checks import market_problems, market_warnings
from trio_collector.config.markets import Market
from trio_collector.errors import Problem
from trio_collector.events import FeedType


def test_apart() -> None:
    """Exchanges, symbols, feeds and categories keep markets apart."""
    markets = [
        Market(exchange="binance", symbols=("btcusdt", "ethusdt")),
        Market(exchange="okx", symbols=("BTC-USDT",)),
        Market(exchange="bybit", symbols=("BTCUSDT",)),
        Market(exchange="bybit", symbols=("BTCUSDT",), category="linear"),
        Market(exchange="bybit", symbols=("BTCUSDT",), category="inverse"),
    ]
    assert list(market_problems(markets)) == []


def test_the_url_tells_the_category() -> None:
    """Without a category of its own, a market of Bybit has that of its URL."""
    url = "wss://stream.bybit.example/v5/public/linear/"
    linear = Market(exchange="bybit", symbols=("BTCUSDT",), category="linear")
    markets = [linear, Market(exchange="bybit", symbols=("btcusdt",), base_url=url)]
    (problem,) = market_problems(markets)
    assert problem.place == "markets[1].symbols[0]"


def test_both_places_of_a_repetition() -> None:
    """A repetition names where the market is already, for each place that has one of its feeds."""
    markets = [
        Market(exchange="okx", symbols=("BTC-USDT",), feeds=(FeedType.TRADES,)),
        Market(exchange="okx", symbols=("BTC-USDT",), feeds=(FeedType.ORDERBOOK,)),
        Market(exchange="okx", symbols=("btcusdt",)),
    ]
    assert [
        problem.text.partition("(")[2].split(";")[0] for problem in market_problems(markets)
    ] == [
        "orderbook) is configured already, at markets[1].symbols[0]",
        "trades) is configured already, at markets[0].symbols[0]",
    ]


def test_warnings_concern_their_exchange() -> None:
    """Port 8443 is OKX's and /ws is Binance's; elsewhere they mean nothing."""
    url = "wss://exchange.example:8443/ws"
    warned = {
        exchange: [
            problem.place
            for problem in market_warnings(
                [Market(exchange=exchange, symbols=("x",), base_url=url)]
            )
        ]
        for exchange in ("binance", "okx", "bybit", "upbit", "coinbase")
    }
    assert {exchange for exchange, places in warned.items() if places} == {"binance", "okx"}


def test_problems_are_places_and_texts() -> None:
    """A problem is shown as its place and its text."""
    assert str(Problem("markets[0].feeds", "names a feed twice")) == (
        "markets[0].feeds: names a feed twice"
    )
