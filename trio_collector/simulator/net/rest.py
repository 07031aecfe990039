"""The REST side, pure: Binance's depth snapshot, and the true state for tests.

A depth snapshot is current: its `lastUpdateId` is the `u` of the latest diff. Answers say what the
requests of this minute have cost.

GET /binance/api/v3/depth?symbol=BTCUSDT&limit=N    as Binance answers it
GET /simulator/book/<exchange>[.<category>]/<symbol>  the true book: texts, and the latest ids
GET /simulator/sent                                 data frames sent, per stream
GET /simulator/faults                                 faults injected so far, in order
"""

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trio_collector.simulator.dialects.binance import depth_snapshot, depth_weight
from trio_collector.simulator.faults.fault import InjectedFault
from trio_collector.simulator.markets.book_side import Level
from trio_collector.simulator.markets.decimals import trimmed
from trio_collector.simulator.markets.exchange import SimulatedExchange
from trio_collector.simulator.markets.market import SIZE_DECIMALS, Book, Market
from trio_collector.simulator.net.frames import plain_symbol
from trio_collector.simulator.net.http import HttpAnswer
from trio_collector.simulator.record import SentRecord

DEFAULT_LIMIT = 100  # of Binance's depth
MINUTE_S = 60

Books = Mapping[str, Book]


class Meter:
    """The weight that requests have spent, minute by minute of the clock."""

    def __init__(self) -> None:
        self._minute = 0
        self._used = 0

    def spend(self, weight: int, now_s: float) -> int:
        """Add `weight`; return what is used of this minute."""
        minute = int(now_s // MINUTE_S)
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += weight
        return self._used


def answer_get(
    target: str,
    exchanges: Mapping[str, SimulatedExchange],
    sent: SentRecord,
    *,
    injected_faults: Sequence[InjectedFault] = (),
    books: Books | None = None,
) -> HttpAnswer:
    """Return the answer to GET `target`; depth is that of `books`, if given, instead of the current one."""
    path, _, query = target.partition("?")
    match path.strip("/").split("/"):
        case ["binance", "api", "v3", "depth"] if "binance" in exchanges:
            return _depth(dict(urllib.parse.parse_qsl(query)), exchanges["binance"], books or {})
        case ["simulator", "faults"]:
            return _json(200, {"faults": [msgspec.to_builtins(each) for each in injected_faults]})
        case ["simulator", "book", exchange, symbol] if exchange in exchanges:
            market = find_market(exchanges[exchange], symbol)
            return _json(200, true_book(market)) if market else _json(404, {"error": "no market"})
        case ["simulator", "sent"]:
            return _json(200, sent_counts(sent))
    return _json(404, {"error": "nothing here"})


def find_market(exchange: SimulatedExchange, symbol: str) -> Market | None:
    """Return the market of `symbol` in any spelling."""
    markets = {plain_symbol(name): market for name, market in exchange.markets.items()}
    return markets.get(plain_symbol(symbol))


def true_book(market: Market) -> dict[str, Any]:
    """Return the book as it is: prices and sizes without trailing zeros, best first."""
    book = market.book()
    return {
        "symbol": market.symbol,
        "last_id": book.last_id,
        "number": book.number,
        "bids": _texts(book.bids, market),
        "asks": _texts(book.asks, market),
    }


def sent_counts(sent: SentRecord) -> dict[str, Any]:
    """Return how many frames of each stream were sent, and how many that belong to none.

    `fates` are those of frames that were not simply sent.
    """
    streams = [{**stream._asdict(), "frames": count} for stream, count in sent.counts.items()]
    fates = [
        {**stream._asdict(), "fate": fate, "frames": count}
        for (stream, fate), count in sent.fates.items()
    ]
    return {"streams": streams, "control": dict(sent.control_counts), "fates": fates}


def request_weight(target: str) -> int:
    """Return what the request for `target` costs at Binance; 0 for what it does not have."""
    path, _, query = target.partition("?")
    if path.strip("/") != "binance/api/v3/depth":
        return 0
    limit = dict(urllib.parse.parse_qsl(query)).get("limit", str(DEFAULT_LIMIT))
    return depth_weight(int(limit)) if _is_limit(limit) else depth_weight(DEFAULT_LIMIT)


def _is_limit(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0


def _depth(query: dict[str, str], exchange: SimulatedExchange, books: Books) -> HttpAnswer:
    market = exchange.markets.get(query.get("symbol", ""))
    if market is None:
        return _json(400, {"code": -1121, "msg": "Invalid symbol."})
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if not _is_limit(limit):
        text = f"Illegal characters found in parameter 'limit': {limit}"
        return _json(400, {"code": -1100, "msg": text})
    snapshot = depth_snapshot(market, int(limit), books.get(market.symbol))
    return HttpAnswer(200, snapshot.encode())


def _texts(levels: list[Level], market: Market) -> list[list[str]]:
    return [
        [trimmed(price, market.price_decimals), trimmed(size, SIZE_DECIMALS)]
        for price, size in levels
    ]


def _json(status: int, body: dict[str, Any]) -> HttpAnswer:
    return HttpAnswer(status, json.dumps(body).encode())
