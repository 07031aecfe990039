"""Whole books of Binance, asked for by HTTP: what diffs are changes to.

Documents, as of 2026-11-22:

* https://github.com/binance/binance-spot-api-docs/blob/master/rest-api.md ("Order book")
* https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md ("How to manage
  a local order book correctly")

A diff follows on a book if `U <= lastUpdateId + 1 <= u`; diffs with a smaller `u` are in the book
already, and a greater `U` says that the book is older than the first diff, so that another one is
needed. Levels beyond the depth that was asked for stay unknown until they change.
"""

import urllib.parse
from typing import Annotated

import msgspec
from msgspec import Meta

from trio_collector.events import Event
from trio_collector.exchanges.adapter import Rate, SnapshotRequest
from trio_collector.exchanges.decoding import ORDERBOOK, append_path, require_utf8

# 1000 levels a side cost a fifth of what 5000 do, and 60 markets of them take a minute of ours.
DEFAULT_SNAPSHOT_DEPTH = 1000

# What a book costs, by its depth. (rest-api.md)
WEIGHTS = {100: 5, 500: 25, 1000: 50, 5000: 250}

# 6000 a minute for an IP (CHANGELOG.md, 2023-08-25). We use half of it: everything else behind the
# address spends from the same budget, and Binance bans the whole address when it is overspent.
REST_WEIGHT = Rate(3000, 60.0)

PATH = "/api/v3/depth"

Level = tuple[str, str]  # price and size
UpdateId = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Book(msgspec.Struct, gc=False, rename={"last_update_id": "lastUpdateId"}):
    """The answer, recorded 2021-10-12; or an error.

    {"lastUpdateId":499869752,"bids":[["0.35210000","672.00000000"]],"asks":[[...]]}

    {"code":-1121,"msg":"Invalid symbol."}
    """

    last_update_id: UpdateId | None = None
    bids: list[Level] | None = None
    asks: list[Level] | None = None
    code: int | None = None
    msg: str = ""


_decode_book = msgspec.json.Decoder(_Book).decode


def render_request(rest_url: str, symbol: str, depth: int) -> SnapshotRequest:
    """Return how to ask for the best `depth` levels of each side."""
    query = urllib.parse.urlencode({"symbol": symbol.upper(), "limit": depth})
    return SnapshotRequest(f"{append_path(rest_url, PATH)}?{query}", WEIGHTS[depth])


def parse_book(symbol: str, body: bytes) -> Event:
    """Return what an answer says about `symbol`; raises one of `decoding.UNREADABLE`."""
    require_utf8(body)
    book = _decode_book(body)
    if book.code is not None:
        raise ValueError(f"code {book.code}: {book.msg}")
    if book.last_update_id is None or book.bids is None or book.asks is None:
        raise ValueError("a book without id or levels")
    return Event(
        symbol=symbol,
        data_type=ORDERBOOK,
        sequence_id=str(book.last_update_id),
        exchange_us=None,
        last_id=book.last_update_id,
        is_reset=True,
    )
