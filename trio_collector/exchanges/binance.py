"""Binance spot: order books and trades from combined streams.

Documents, as of 2026-11-22:

* https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md (2026-07-21)
* https://github.com/binance/binance-spot-api-docs/blob/master/rest-api.md
* https://github.com/binance/binance-spot-api-docs/blob/master/CHANGELOG.md

What shapes this file:

* Partial books carry neither symbol nor time nor kind. The wrapper's stream name tells the symbol,
  so the connection always goes to `/stream`; their `exchange_us` is None.
* `exchange_us` is `E`, when Binance made the message, for trades as for book updates: one meaning
  for the whole exchange. The time of the trade itself, `T`, stays in the row. Both are
  milliseconds, because the URL asks for no other `timeUnit`.
* A book comes as partial books, each whole, or as diffs. A diff is a change to a book that has to be
  asked for by HTTP.
* Continuity: the `U` of a book update follows the last `u`, the `t` (`a`) of a trade the last one.
  A partial book proves nothing.
* Ids name the same message on every connection. `t` is the trade's own. Two trades or two diffs
  never share one, and two partial books with one `lastUpdateId` are the same book. That diffs begin
  and end alike everywhere is not documented; but in four of four recordings of 2021 the
  `lastUpdateId` of a book by HTTP is the `u` of a diff, so both are cut by the same clock.
* A book by HTTP thus has the id of a diff, and is no repetition of it: it is a reset.
* A new subscription brings no past trades and no book: resubscribing only helps one that fell silent.
  After a gap the next partial book is whole, and diffs need another book by HTTP.
* The answers to both requests are alike but for the id, which is a number: "request ID must be an
  unsigned integer". (web-socket-streams.md, "Error messages")
* A symbol that does not exist is acked and then silent; only a deadline on the first data tells.
* Errors come flat (`code`, `msg`) in the documents and nested under `error` in the field.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Raw

from trio_collector.config.markets import Market, binance_rest_url
from trio_collector.errors import UnreadableFrame
from trio_collector.events import (
    Ack,
    Control,
    Event,
    GoingAway,
    IgnoredMessage,
    Parsed,
    UnknownMessage,
)
from trio_collector.exchanges.adapter import Limits, Rate, SnapshotRequest, Subscription
from trio_collector.exchanges.binance_book import (
    DEFAULT_SNAPSHOT_DEPTH,
    REST_WEIGHT,
    parse_book,
    render_request,
)
from trio_collector.exchanges.decoding import (
    ABSENT,
    NULL,
    ORDERBOOK,
    TRADE,
    UNREADABLE,
    Id,
    Milliseconds,
    SymbolNames,
    append_path,
)
from trio_collector.exchanges.exchange import Exchange, Op, Token

BASE_URL = "wss://stream.binance.com:443"
# Market data alone; works where stream.binance.com answers 451. (CHANGES.md of the Rust collector)
ALTERNATIVE_URL = "wss://data-stream.binance.vision"
# Line 1 connects to the other name, so that a failure of one host or of the way to it takes down one
# line only. Ports 443 and 9443 belong to the same hosts.
HOSTS = (BASE_URL, ALTERNATIVE_URL)
DEFAULT_DEPTH = 20

# 5 messages a second may come from us, and the pongs that answer Binance's pings count among
# them; one is left for a pong. (web-socket-streams.md, "Limits")
REQUESTS = Rate(4, 1.0)
# "300 connections per attempt every 5 minutes per IP", 1024 streams on a connection. (ibid.)
CONNECTS = Rate(300, 300.0)
STREAMS_PER_CONNECTION = 1024
# Keeps a request below some 10 kB; 1024 streams take six requests, less than two seconds.
STREAMS_PER_REQUEST = 200
# "A single connection is only valid for 24 hours." (ibid.)
MAX_SESSION_S = 24 * 3600.0


class _Payload(
    msgspec.Struct,
    gc=False,
    rename={
        "kind": "e",
        "sent_ms": "E",
        "symbol": "s",
        "trade_id": "t",
        "first_update_id": "U",
        "final_update_id": "u",
        "changed_bids": "b",
        "asks_or_trade_id": "a",
        "snapshot_id": "lastUpdateId",
    },
):
    """`data` of a combined stream; only what is needed, of every kind at once.

    `@depth20@100ms`, from https://github.com/crypto-crawler/crypto-msg-parser (2021):
        {"lastUpdateId":17044571457,"bids":[["1782.00000000","6.48300000"]],"asks":[[...]]}
    `@depth@100ms`, recorded 2021-10-12:
        {"e":"depthUpdate","E":1633998513068,"s":"NKNUSDT","U":499869760,"u":499869760,"b":[],
        "a":[["0.35380000","3027.00000000"]]}
    `@trade`, from the documents:
        {"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100",
        "T":1672515782136,"m":true,"M":true}
    `@aggTrade`, where `a` is an id:
        {"e":"aggTrade","E":1616176861895,"s":"BTCUSDT","a":640283266,"p":"58942.01000000",
        "q":"0.00035600","f":716849523,"l":716849523,"T":1616176861893,"m":false,"M":true}
    """

    kind: str = ""
    sent_ms: Milliseconds | None = None
    symbol: str = ""
    trade_id: Id | None = None
    first_update_id: Id | None = None
    final_update_id: Id | None = None
    changed_bids: Raw = ABSENT
    asks_or_trade_id: Raw = ABSENT
    snapshot_id: Id | None = None
    bids: Raw = ABSENT
    asks: Raw = ABSENT


class _Fault(msgspec.Struct, gc=False):
    """{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}"""

    code: int | None = None
    msg: str = ""


class _Frame(msgspec.Struct, gc=False):
    """A whole message.

    Data: {"stream":"btcusdt@trade","data":{...}}
    Ack:  {"result":null,"id":1}
    Error: {"code":0,"msg":"Unknown property","id":1}, {"error":{"code":2,"msg":"..."},"id":1}
    """

    stream: str = ""
    data: _Payload | None = None
    id: Id | str | None = None
    result: Raw = ABSENT  # null is an answer, too
    error: _Fault | None = None
    code: int | None = None
    msg: str = ""


_decode_frame = msgspec.json.Decoder(_Frame).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode
_decode_id = msgspec.json.Decoder(Id).decode


class Binance(Exchange):
    """Binance spot, and Binance.US and Binance TR by their `base_url`."""

    name = "binance"
    base_url = BASE_URL
    book_channel = f"depth{DEFAULT_DEPTH}@100ms"
    trades_channel = "trade"
    has_numeric_ids = True
    limits = Limits(
        connects=(CONNECTS,),
        topics_per_connection=STREAMS_PER_CONNECTION,
        topics_per_request=STREAMS_PER_REQUEST,
        requests=REQUESTS,
        rest_weight=REST_WEIGHT,
    )
    # No keepalive: Binance pings every 20 s and the WebSocket layer answers. That is also what
    # keeps a quiet connection within the 30 s of silence that the feed allows.
    contiguous_ids = frozenset({ORDERBOOK, TRADE})
    global_ids = frozenset({ORDERBOOK, TRADE})
    max_session_s: float | None = MAX_SESSION_S
    fallback_url: str | None = ALTERNATIVE_URL
    # Wrapper; trade and aggTrade; depthUpdate; partial book. (web-socket-streams.md)
    fields = "stream data e E s t p q T m M a f l U u b lastUpdateId bids asks"

    def __init__(
        self,
        base_url: str | None = None,
        depth: int = DEFAULT_DEPTH,
        *,
        orderbook: Literal["partial", "diff"] = "partial",
        snapshot_depth: int = DEFAULT_SNAPSHOT_DEPTH,
        rest_url: str | None = None,
    ) -> None:
        book = "depth@100ms" if orderbook == "diff" else f"depth{depth}@100ms"
        super().__init__(base_url, book_channel=book)
        self.has_incremental_books = orderbook == "diff"
        self._base_url = base_url
        self._snapshot_depth = snapshot_depth
        self._rest_url = rest_url or binance_rest_url(base_url) or ""
        if self.has_incremental_books and not self._rest_url:
            raise ValueError(f"{base_url!r} does not tell where whole books are asked for")

    @classmethod
    def from_market(cls, market: Market, token: Token | None) -> "Binance":
        return cls(
            market.base_url,
            market.depth or DEFAULT_DEPTH,
            orderbook=market.orderbook or "partial",
            snapshot_depth=market.snapshot_depth or DEFAULT_SNAPSHOT_DEPTH,
            rest_url=market.rest_url,
        )

    def websocket_url(self, line: int = 0) -> str:
        url = self._base_url or HOSTS[line % len(HOSTS)]
        # The Rust collector's base_url ends with /ws, which delivers without stream names.
        return append_path(url.rstrip("/").removesuffix("/ws"), "/stream")

    def _request(self, op: Op, group: Sequence[Subscription], request_id: str) -> object:
        names = [f"{each.symbol.lower()}@{self._channels[each.feed]}" for each in group]
        return {"method": op.upper(), "params": names, "id": int(request_id)}

    def snapshot_request(self, symbol: str) -> SnapshotRequest | None:
        if not self.has_incremental_books:
            return None
        return render_request(self._rest_url, symbol, self._snapshot_depth)

    def parse_snapshot(self, symbol: str, body: bytes) -> Event:
        try:
            return parse_book(self._names[symbol], body)
        except UNREADABLE as exc:
            raise UnreadableFrame(self.name, str(exc), body) from exc

    def _parse(self, frame: bytes) -> Parsed:
        message = _decode_frame(frame)
        if message.data is not None:
            return (_parse_payload(message.stream, message.data, self._names),)
        return (self._parse_control(message) or self._parse_raw(frame),)

    def _parse_control(self, message: _Frame) -> Control | None:
        """Return what an answer says; None for what is not an answer."""
        fault = message.error or _Fault(message.code, message.msg)
        if fault.code is not None:
            return self._refusal(message.id, f"code {fault.code}: {fault.msg}")
        if message.result == NULL and message.id is not None:
            is_end = self._is_unsubscribe(message.id)
            return IgnoredMessage("unsubscribe") if is_end else Ack(str(message.id))
        # SUBSCRIBE is answered by null alone; LIST_SUBSCRIPTIONS and GET_PROPERTY by a value.
        return None if message.result is ABSENT else IgnoredMessage("result")

    def _parse_raw(self, frame: bytes) -> Event | Control:
        """Return what a message without a wrapper says, as `/ws` and shutdown notices have it."""
        return _parse_payload("", _decode_payload(frame), self._names)


def _parse_payload(stream: str, data: _Payload, names: SymbolNames) -> Event | Control:
    kind = data.kind
    if kind == "trade":
        return _parse_trade(data, data.trade_id, names)
    if kind == "depthUpdate":
        return _parse_update(data, names)
    if data.snapshot_id is not None:
        return _parse_partial(stream, data, names)
    if kind == "aggTrade":
        return _parse_trade(data, _decode_id(data.asks_or_trade_id), names)
    if kind == "serverShutdown":
        return GoingAway(kind)
    return _parse_foreign(stream, data)


def _parse_trade(data: _Payload, trade_id: int | None, names: SymbolNames) -> Event:
    if trade_id is None or data.sent_ms is None:
        raise ValueError(f"{data.kind} without id or time")
    return Event(
        symbol=names[data.symbol],
        data_type=TRADE,
        sequence_id=str(trade_id),
        exchange_us=data.sent_ms * 1_000,
        previous_id=trade_id - 1,
        last_id=trade_id,
    )


def _parse_update(data: _Payload, names: SymbolNames) -> Event:
    first, final = data.first_update_id, data.final_update_id
    if first is None or final is None or data.sent_ms is None:
        raise ValueError("depthUpdate without ids or time")
    if data.changed_bids is ABSENT or data.asks_or_trade_id is ABSENT:
        raise ValueError("depthUpdate without levels")
    return Event(
        symbol=names[data.symbol],
        data_type=ORDERBOOK,
        sequence_id=str(final),
        exchange_us=data.sent_ms * 1_000,
        previous_id=first - 1,
        last_id=final,
    )


def _parse_partial(stream: str, data: _Payload, names: SymbolNames) -> Event | Control:
    if data.bids is ABSENT or data.asks is ABSENT:
        raise ValueError("partial book without levels")
    if not stream:
        return UnknownMessage("partial book without a stream name")
    return Event(
        symbol=names[stream.partition("@")[0]],
        data_type=ORDERBOOK,
        sequence_id=str(data.snapshot_id),
        exchange_us=None,
    )


def _parse_foreign(stream: str, data: _Payload) -> Control:
    """Return the kind of a message that is not collected; bookTicker has it in its stream only."""
    if kind := data.kind or stream.rpartition("@")[2].removeprefix("!"):
        return UnknownMessage(kind)
    if data.final_update_id is not None and data.symbol:
        return UnknownMessage("bookTicker")
    raise ValueError("neither data nor an answer")
