"""The tables `[[markets]]`: which markets are collected, and with which options of their exchange."""

import urllib.parse
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from trio_collector.config.toml import Name, Seconds
from trio_collector.events import FeedType

Names = Annotated[tuple[Name, ...], Meta(min_length=1, description="a list of at least one text")]
Feeds = Annotated[
    tuple[FeedType, ...], Meta(min_length=1, description="a list of at least one feed")
]
ExchangeName = Literal["binance", "coinbase", "upbit", "okx", "bybit"]


class Market(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[[markets]]`: markets of one exchange that share their options."""

    exchange: ExchangeName
    symbols: Names
    feeds: Feeds = tuple(FeedType)
    base_url: str | None = None
    data_timeout_secs: Seconds | None = None
    connections: Literal[1, 2] = 1
    orderbook: Literal["partial", "diff"] | None = None
    depth: Literal[5, 10, 20] | None = None
    snapshot_depth: Literal[100, 500, 1000, 5000] | None = None
    rest_url: str | None = None
    category: Literal["spot", "linear", "inverse"] | None = None
    book_channel: Literal["books", "books5", "bbo-tbt"] | None = None
    units: Literal[1, 5, 15, 30] | None = None


# Options of `[[markets]]` that one exchange alone has.
EXCHANGE_OPTIONS = {
    "orderbook": "binance",
    "depth": "binance",
    "snapshot_depth": "binance",
    "rest_url": "binance",
    "category": "bybit",
    "book_channel": "okx",
    "units": "upbit",
}


def plain_symbol(symbol: str) -> str:
    """Return `symbol` in lower case without `-`, `_` and `/`, as the Rust archive names it."""
    return symbol.lower().translate(_NO_SEPARATORS)


_NO_SEPARATORS = str.maketrans("", "", "-_/")


# Where book snapshots are requested, by the host of the streams. (Binance's web-socket-streams.md
# and rest-api.md)
_BINANCE_REST_URLS = {
    "stream.binance.com": "https://api.binance.com",
    "data-stream.binance.vision": "https://data-api.binance.vision",
}


def binance_rest_url(base_url: str | None) -> str | None:
    """Return where the book snapshots to the streams of `base_url` come from; None if unknown.

    Nothing is guessed: a snapshot of one exchange with diffs of another would be a wrong book.
    """
    if base_url is None:
        return _BINANCE_REST_URLS["stream.binance.com"]
    return _BINANCE_REST_URLS.get(urllib.parse.urlsplit(base_url).hostname or "")
