"""What can be wrong with `[[markets]]` though every value is of the right type.

A market is the same however it is spelled: `BTC-USDT` and `btcusdt` of one exchange may not both be
collected. Bybit's categories are different markets, though their symbols are alike.
"""

import re
from collections.abc import Iterator, Sequence

from trio_collector.config.markets import (
    EXCHANGE_OPTIONS,
    Market,
    binance_rest_url,
    plain_symbol,
)
from trio_collector.config.urls import http_url_fault, websocket_url_fault
from trio_collector.errors import Problem
from trio_collector.events import FeedType
from trio_collector.layout import encode_name

# A component of a path may have 255 bytes; an encoded name stays far below.
MAX_NAME_BYTES = 100


def folder_name_fault(name: str) -> str | None:
    """Return a fault if `name` is too long for a folder."""
    if len(encode_name(name)) > MAX_NAME_BYTES:
        return f"too long for a folder; at most {MAX_NAME_BYTES} bytes once encoded"
    return None


def market_problems(markets: Sequence[Market | None]) -> Iterator[Problem]:
    """Yield what is wrong with `markets`; None stands for a table that could not be read."""
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
    yield from _foreign_options(market, place)
    url_fault = None if market.base_url is None else websocket_url_fault(market.base_url)
    if url_fault is not None:
        yield Problem(f"{place}.base_url", url_fault)
    if market.exchange == "binance" and market.orderbook == "diff":
        yield from _diff_problems(market, place, is_url_sound=url_fault is None)
    if market.rest_url is not None and (fault := http_url_fault(market.rest_url)):
        yield Problem(f"{place}.rest_url", fault)
    if len(set(market.feeds)) < len(market.feeds):
        yield Problem(f"{place}.feeds", "names a feed twice; once is enough")


def _foreign_options(market: Market, place: str) -> Iterator[Problem]:
    """Yield a problem for each option that another exchange has, and this one has not."""
    for option, owner in EXCHANGE_OPTIONS.items():
        if getattr(market, option) is not None and owner != market.exchange:
            text = f"{market.exchange} has no such option, {owner} has; remove it here"
            yield Problem(f"{place}.{option}", text)


def _diff_problems(market: Market, place: str, *, is_url_sound: bool) -> Iterator[Problem]:
    """Yield what contradicts order books from diffs, and what is missing for them."""
    if market.depth is not None:
        # Not ignored: with both, a user expects so many levels, and would get all of them.
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


def _symbol_fault(symbol: str) -> str | None:
    """Return what is wrong with a symbol of any exchange; None if it can be one."""
    if re.search(r"[\s,;\"'\\]", symbol) or not symbol.isprintable():
        return f"{symbol!r} is not one symbol; write each as a text of its own, without blanks"
    if not plain_symbol(symbol):
        return f"{symbol!r} names no market; write it as the exchange does"
    return folder_name_fault(plain_symbol(symbol))


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
    """Return the category as Bybit's adapter reads it: the option, else the end of the URL."""
    end = (market.base_url or "").rstrip("/").rpartition("/")[2]
    return market.category or (end if end in ("linear", "inverse") else "spot")


def market_warnings(markets: Sequence[Market]) -> Iterator[Problem]:
    """Yield what is allowed in `markets`, and likely not what was meant."""
    for index, market in enumerate(markets):
        place = f"markets[{index}]"
        for option in ("snapshot_depth", "rest_url"):
            if getattr(market, option) is not None and market.orderbook != "diff":
                yield Problem(f"{place}.{option}", 'has no effect without orderbook = "diff"')
        if advice := _url_advice(market.exchange, market.base_url or ""):
            yield Problem(f"{place}.base_url", advice)


def _url_advice(exchange: str, url: str) -> str | None:
    if exchange == "okx" and ":8443" in url:
        # Second-hand: three write-ups of OKX's notice; the new address is without a port.
        return "OKX retired port 8443 on 2026-10-31; leave the port out"
    if exchange == "binance" and url.rstrip("/").endswith("/ws"):
        return "read as /stream, because order books on /ws do not tell their symbol"
    return None
