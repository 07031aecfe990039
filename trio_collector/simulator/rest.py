"""The REST side, pure: Binance's depth snapshot, and the truth for who tests.

GET /binance/api/v3/depth?symbol=BTCUSDT&limit=N    as Binance answers it
GET /simulator/book/<exchange>[.<category>]/<symbol>  the true book: texts, and the latest ids
GET /simulator/sent                                 data frames sent, per stream
"""

import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

from trio_collector.simulator.decimals import trimmed
from trio_collector.simulator.dialects.binance import depth_snapshot
from trio_collector.simulator.frames import plain_symbol
from trio_collector.simulator.http import HttpAnswer
from trio_collector.simulator.ladder import Level
from trio_collector.simulator.market import SIZE_DECIMALS, Market
from trio_collector.simulator.record import SentRecord
from trio_collector.simulator.venue import Venue

DEFAULT_LIMIT = 100  # of Binance's depth


def answer_get(target: str, venues: Mapping[str, Venue], sent: SentRecord) -> HttpAnswer:
    """Return the answer to GET `target`."""
    path, _, query = target.partition("?")
    match path.strip("/").split("/"):
        case ["binance", "api", "v3", "depth"] if "binance" in venues:
            return _depth(dict(urllib.parse.parse_qsl(query)), venues["binance"])
        case ["simulator", "book", exchange, symbol] if exchange in venues:
            market = find_market(venues[exchange], symbol)
            return _json(200, true_book(market)) if market else _json(404, {"error": "no market"})
        case ["simulator", "sent"]:
            return _json(200, sent_counts(sent))
    return _json(404, {"error": "nothing here"})


def find_market(venue: Venue, symbol: str) -> Market | None:
    """Return the market of `symbol` in any spelling."""
    markets = {plain_symbol(name): market for name, market in venue.markets.items()}
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
    """Return how many frames of each stream were sent, and how many that belong to none."""
    streams = [{**stream._asdict(), "frames": count} for stream, count in sent.counts.items()]
    return {"streams": streams, "control": dict(sent.control_counts)}


def _depth(query: dict[str, str], venue: Venue) -> HttpAnswer:
    market = venue.markets.get(query.get("symbol", ""))
    if market is None:
        return _json(400, {"code": -1121, "msg": "Invalid symbol."})
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 10 and int(limit) > 0):
        text = f"Illegal characters found in parameter 'limit': {limit}"
        return _json(400, {"code": -1100, "msg": text})
    return HttpAnswer(200, depth_snapshot(market, int(limit)).encode())


def _texts(levels: list[Level], market: Market) -> list[list[str]]:
    return [
        [trimmed(price, market.price_decimals), trimmed(size, SIZE_DECIMALS)]
        for price, size in levels
    ]


def _json(status: int, body: dict[str, Any]) -> HttpAnswer:
    return HttpAnswer(status, json.dumps(body).encode())
