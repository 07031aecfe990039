"""What the exchanges say and want to be told: pure, one file each.

    adapter          what the feed sees of an exchange
      exchange       what all of them do alike
        binance …    one exchange each: facts, messages, parsing
    decoding         numbers, names of rows, UTF-8, URLs
    binance_book     books of Binance by HTTP
    coinbase_jwt     tokens from a key of Coinbase

The feed uses `adapter` alone; `app` creates adapters with `create_adapter`, and reads the key of
Coinbase. An exchange is added by a file like the others and its class in `ADAPTERS`.
"""

from trio_collector.config.markets import Market
from trio_collector.exchanges.adapter import Adapter
from trio_collector.exchanges.binance import Binance
from trio_collector.exchanges.bybit import Bybit
from trio_collector.exchanges.coinbase import Coinbase
from trio_collector.exchanges.exchange import Exchange, Token
from trio_collector.exchanges.okx import Okx
from trio_collector.exchanges.upbit import Upbit

# In the order in which they are listed anywhere.
ADAPTERS: dict[str, type[Exchange]] = {
    each.name: each for each in (Binance, Coinbase, Upbit, Okx, Bybit)
}


def create_adapter(market: Market, *, coinbase_token: Token | None = None) -> Adapter:
    """Return the adapter for `market`, with its base_url and options.

    `coinbase_token` makes a fresh JWT for a request; None where there is no key.
    """
    return ADAPTERS[market.exchange].from_market(market, coinbase_token)
