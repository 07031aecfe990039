"""A symbol is the same however it is spelled."""

import pytest

from trio_collector.config.markets import plain_symbol


@pytest.mark.parametrize("symbol", ["BTC-USDT", "btc_usdt", "BTC/USDT", "btcusdt"])
def test_plain_symbols(symbol: str) -> None:
    """A symbol is kept in lower case without separators."""
    assert plain_symbol(symbol) == "btcusdt"
