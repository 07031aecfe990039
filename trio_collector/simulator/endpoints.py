"""Which path belongs to which exchange, and its dialect."""

from typing import NamedTuple

from trio_collector.simulator.dialects.binance import BinanceDialect
from trio_collector.simulator.dialects.bybit import BybitDialect, BybitFuturesDialect
from trio_collector.simulator.dialects.coinbase import CoinbaseDialect
from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.dialects.okx import OkxDialect
from trio_collector.simulator.dialects.upbit import UpbitDialect


class Endpoint(NamedTuple):
    """The dialect at a path, and the exchange behind it."""

    dialect: type[Dialect]
    exchange: str


# Bybit's categories share the names of symbols and topics, and nothing else.
ENDPOINTS = {
    "/binance/stream": Endpoint(BinanceDialect, "binance"),
    "/binance/ws": Endpoint(BinanceDialect, "binance"),
    "/coinbase": Endpoint(CoinbaseDialect, "coinbase"),
    "/upbit/websocket/v1": Endpoint(UpbitDialect, "upbit"),
    "/okx/ws/v5/public": Endpoint(OkxDialect, "okx"),
    "/bybit/v5/public/spot": Endpoint(BybitDialect, "bybit"),
    "/bybit/v5/public/linear": Endpoint(BybitFuturesDialect, "bybit.linear"),
    "/bybit/v5/public/inverse": Endpoint(BybitFuturesDialect, "bybit.inverse"),
}


def find_endpoint(path: str) -> Endpoint | None:
    """Return what is at the path of a URL; None if nothing is."""
    return ENDPOINTS.get(path.rstrip("/"))
