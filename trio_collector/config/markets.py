"""Which markets are asked for: `[[markets]]`, and what can be wrong with it.

A market is the same however it is spelled: `BTC-USDT` and `btcusdt` of one exchange may not both be
collected. Bybit's categories are markets of their own, though their symbols are alike.
"""

import re
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from trio_collector.config.toml import Name, Seconds
from trio_collector.config.urls import is_loopback, store_url_fault, websocket_url_fault
from trio_collector.errors import Problem
from trio_collector.events import FeedType
from trio_collector.layout import encode_name

Names = Annotated[tuple[Name, ...], Meta(min_length=1, description="a list of at least one text")]
Feeds = Annotated[
    tuple[FeedType, ...], Meta(min_length=1, description="a list of at least one feed")
]
ExchangeName = Literal["binance", "coinbase", "upbit", "okx", "bybit"]

# A component of a path may have 255 bytes; a name that is encoded stays far below.
MAX_NAME_BYTES = 100


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


# Options of `[[markets]]` that only one exchange has.
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


# Where books are asked for by HTTP, by the host of the streams. (Binance's web-socket-streams.md and
# rest-api.md)
_BINANCE_REST_URLS = {
    "stream.binance.com": "https://api.binance.com",
    "data-stream.binance.vision": "https://data-api.binance.vision",
}


def binance_rest_url(base_url: str | None) -> str | None:
    """Return where Binance's books are asked for beside `base_url`; None if that does not tell.

    A book from another exchange than its diffs would be a wrong book, so nothing is guessed.
    """
    if base_url is None:
        return _BINANCE_REST_URLS["stream.binance.com"]
    return _BINANCE_REST_URLS.get(urllib.parse.urlsplit(base_url).hostname or "")


def market_problems(markets: Sequence[Market | None]) -> Iterator[Problem]:
    """Yield what is wrong with markets whose values are each of the right type, or else None."""
    first_places: dict[tuple[str, str, FeedType], str] = {}
    for index, market in enumerate(markets):
        if market is None:
            continue
        place = f"markets[{index}]"
        yield from _option_problems(market, place)
        for position, symbol in enumerate(market.symbols):
            here = f"{place}.symbols[{position}]"
            if fault := _symbol_fault(symbol):
                yield Problem(here, fault)
            else:
                yield from _repetitions(market, symbol, here, first_places)


def _option_problems(market: Market, place: str) -> Iterator[Problem]:
    for option, owner in EXCHANGE_OPTIONS.items():
        if getattr(market, option) is not None and owner != market.exchange:
            yield Problem(
                f"{place}.{option}",
                f"{market.exchange} has no such option, {owner} has; remove it here",
            )
    url_fault = None if market.base_url is None else websocket_url_fault(market.base_url)
    if url_fault is not None:
        yield Problem(f"{place}.base_url", url_fault)
    if market.exchange == "binance" and market.orderbook == "diff":
        yield from _diff_problems(market, place, is_url_sound=url_fault is None)
    if market.rest_url is not None and (fault := _rest_url_fault(market.rest_url)):
        yield Problem(f"{place}.rest_url", fault)
    if len(set(market.feeds)) < len(market.feeds):
        yield Problem(f"{place}.feeds", "names a feed twice; once is enough")


def _diff_problems(market: Market, place: str, *, is_url_sound: bool) -> Iterator[Problem]:
    """Yield what contradicts order books from diffs, or what they need and is not there."""
    if market.depth is not None:
        # Not passed over: who writes both expects so many levels, and would get all of them.
        text = (
            'is of partial order books, and orderbook = "diff" has all levels; remove one of both'
        )
        yield Problem(f"{place}.depth", text)
    if is_url_sound and market.rest_url is None and binance_rest_url(market.base_url) is None:
        text = (
            f'missing; orderbook = "diff" asks for whole books, and {market.base_url!r} does not'
            " tell where; give the address of the same exchange, such as https://api.binance.us"
        )
        yield Problem(f"{place}.rest_url", text)


def _rest_url_fault(url: str) -> str | None:
    if fault := store_url_fault(url):
        return fault
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        return f"{url!r} is not encrypted; use https://, for http:// stays on this machine"
    return None


def _symbol_fault(symbol: str) -> str | None:
    """Return what is wrong with a symbol of any exchange; None if it can be one."""
    if re.search(r"[\s,;\"'\\]", symbol) or not symbol.isprintable():
        return f"{symbol!r} is not one symbol; write each as a text of its own, without blanks"
    if not plain_symbol(symbol):
        return f"{symbol!r} names no market; write it as the exchange does"
    if len(encode_name(plain_symbol(symbol))) > MAX_NAME_BYTES:
        return f"too long for a folder; at most {MAX_NAME_BYTES} bytes once encoded"
    return None


def _repetitions(
    market: Market, symbol: str, here: str, first_places: dict[tuple[str, str, FeedType], str]
) -> Iterator[Problem]:
    """Yield a problem for each place that has a feed of this symbol already, in any spelling."""
    name = f"{plain_symbol(symbol)}/{_category(market)}"
    twice: dict[str, list[str]] = {}
    for feed in dict.fromkeys(market.feeds):
        first = first_places.setdefault((market.exchange, name, feed), here)
        if first != here:
            twice.setdefault(first, []).append(feed)
    for first, feeds in twice.items():
        what = f"{market.exchange} {plain_symbol(symbol)} ({', '.join(feeds)})"
        yield Problem(here, f"{what} is configured already, at {first}; remove one of the two")


def _category(market: Market) -> str:
    """Return what Bybit's adapter takes for the category: the option, else the end of the URL."""
    end = (market.base_url or "").rstrip("/").rpartition("/")[2]
    return market.category or (end if end in ("linear", "inverse") else "spot")


def market_warnings(markets: Sequence[Market]) -> Iterator[Problem]:
    """Yield what is allowed in `markets`, and likely not what was meant."""
    for index, market in enumerate(markets):
        for option in ("snapshot_depth", "rest_url"):
            if getattr(market, option) is not None and market.orderbook != "diff":
                advice = 'has no effect without orderbook = "diff"'
                yield Problem(f"markets[{index}].{option}", advice)
        place, url = f"markets[{index}].base_url", market.base_url or ""
        if market.exchange == "okx" and ":8443" in url:
            # Second-hand: three write-ups of OKX's notice; the new address is without a port.
            advice = "OKX retired port 8443 on 2026-10-31; leave the port out"
            yield Problem(place, advice)
        if market.exchange == "binance" and url.rstrip("/").endswith("/ws"):
            advice = "read as /stream, because order books on /ws do not tell their symbol"
            yield Problem(place, advice)
