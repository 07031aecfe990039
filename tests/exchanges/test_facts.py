"""Facts of the exchanges, written a second time from their documents: a slip in one shows here."""

import pytest

from trio_collector.events import DataType
from trio_collector.exchanges import ADAPTERS
from trio_collector.exchanges.adapter import Keepalive, Limits, Rate

BOOK, TRADE = DataType.ORDERBOOK, DataType.TRADE

# One of five messages a second is left for a pong; half of the REST weight for other programs.
LIMITS = {
    "binance": Limits(
        connects=(Rate(300, 300.0),),
        topics_per_connection=1024,
        requests=Rate(4, 1.0),
        rest_weight=Rate(3000, 60.0),
        topics_per_request=200,
    ),
    "coinbase": Limits(
        connects=(Rate(8, 1.0),),
        topics_per_connection=60,
        requests=Rate(8, 1.0),
        requests_together=Rate(8, 1.0),
    ),
    "upbit": Limits(connects=(Rate(5, 1.0),), topics_per_connection=200, requests=Rate(5, 1.0)),
    "okx": Limits(
        connects=(Rate(3, 1.0),),
        topics_per_connection=29,
        requests=Rate(480, 3600.0),
        topics_per_request=1,
    ),
    "bybit": Limits(
        connects=(Rate(500, 300.0),),
        topics_per_connection=500,
        connections=1000,
        topics_per_request=10,
    ),
}
KEEPALIVES = {
    "binance": None,
    "coinbase": None,
    "upbit": Keepalive("frame", 20.0),
    "okx": Keepalive("text", 20.0, "ping", is_idle_only=True),
    "bybit": Keepalive("text", 20.0, '{"op":"ping"}'),
}
# Data types whose ids leave no number out.
CONTIGUOUS = {
    "binance": {BOOK, TRADE},
    "coinbase": {TRADE},
    "upbit": set[DataType](),
    "okx": {TRADE},
    "bybit": {BOOK},
}
DEFAULT_URLS = {
    "binance": "wss://stream.binance.com:443/stream",
    "coinbase": "wss://advanced-trade-ws.coinbase.com",
    "upbit": "wss://api.upbit.com/websocket/v1",
    "okx": "wss://ws.okx.com/ws/v5/public",
    "bybit": "wss://stream.bybit.com/v5/public/spot",
}


@pytest.mark.parametrize("exchange", ADAPTERS)
def test_facts_are_the_documented_ones(exchange: str) -> None:
    """Limits, keepalive, URL, and what ids and acks prove."""
    adapter = ADAPTERS[exchange]()
    assert adapter.limits == LIMITS[exchange]
    assert adapter.keepalive == KEEPALIVES[exchange]
    assert adapter.contiguous_ids == CONTIGUOUS[exchange]
    assert adapter.websocket_url() == DEFAULT_URLS[exchange]
    assert adapter.sends_acks == (exchange != "upbit")
    is_binance = exchange == "binance"
    assert adapter.max_session_s == (24 * 3600 if is_binance else None)
    assert adapter.fallback_url == ("wss://data-stream.binance.vision" if is_binance else None)
