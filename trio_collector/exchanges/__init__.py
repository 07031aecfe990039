"""What the five exchanges say and want to be told: pure, one file each.

An exchange is added by a file like the others and a line in `ADAPTERS` and `create_adapter`.
"""

from collections.abc import Callable
from typing import assert_never

from trio_collector.config.markets import Market
from trio_collector.exchanges.adapter import Adapter
from trio_collector.exchanges.binance import DEFAULT_DEPTH, Binance
from trio_collector.exchanges.binance_book import DEFAULT_SNAPSHOT_DEPTH
from trio_collector.exchanges.bybit import Bybit
from trio_collector.exchanges.coinbase import Coinbase
from trio_collector.exchanges.okx import DEFAULT_BOOK_CHANNEL, Okx
from trio_collector.exchanges.upbit import DEFAULT_UNITS, Upbit

# In the order in which they are listed anywhere.
ADAPTERS: dict[str, type[Adapter]] = {
    "binance": Binance,
    "coinbase": Coinbase,
    "upbit": Upbit,
    "okx": Okx,
    "bybit": Bybit,
}


def create_adapter(market: Market, *, coinbase_token: Callable[[], str] | None = None) -> Adapter:
    """Return the adapter for `market`, with its base_url and options.

    `coinbase_token` makes a fresh JWT for a request; None where there is no key.
    """
    url = market.base_url
    match market.exchange:
        case "binance":
            return Binance(
                url,
                market.depth or DEFAULT_DEPTH,
                orderbook=market.orderbook or "partial",
                snapshot_depth=market.snapshot_depth or DEFAULT_SNAPSHOT_DEPTH,
                rest_url=market.rest_url,
            )
        case "coinbase":
            return Coinbase(url, coinbase_token)
        case "upbit":
            return Upbit(url, market.units or DEFAULT_UNITS)
        case "okx":
            return Okx(url, market.book_channel or DEFAULT_BOOK_CHANNEL)
        case "bybit":
            return Bybit(url, market.category)
        case _:
            assert_never(market.exchange)
