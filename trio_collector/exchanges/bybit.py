"""Bybit v5: order books and trades of spot, linear and inverse.

Documents, as of 2026-11-22:

* https://bybit-exchange.github.io/docs/v5/ws/connect (2026-07-24)
* https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
* https://bybit-exchange.github.io/docs/v5/websocket/public/trade

What shapes this file:

* A topic has the same text on spot and linear; only the endpoint tells them apart. Names of rows
  of linear and inverse have the category behind a dot.
* One bad topic rejects its whole request, the good topics too.
* The `u` of a book grows by one with each delta (seen, not promised). A snapshot, or a `u` of 1,
  replaces the book. Level 1 is a snapshot each time, repeated with the same `u`.
* A message may hold up to 1024 trades, oldest first; their ids prove nothing.
* The public pong has `op` "ping"; only `ret_msg` says pong.
* `exchange_us` of a book is `ts`: `cts`, the matching engine's time, is missing in messages up to
  2023, and a column should not change its clock. That of trades is `T` of the last one.
* Nothing says that ids are alike on every connection. Whether `u` runs on from one to the next is
  not documented, nor whether messages of trades, which are named by their last one, are cut alike.
* No two deltas of a topic share a `u` until the service restarts, which sends 1 each time; level 1
  repeats its `u` after 3 s without a change. No two messages of trades share an `i`.
* Resubscribing, which means unsubscribing first, brings a new snapshot of a book; a subscribe to what
  is subscribed is refused. Trades have no past: resubscribing only helps one that fell silent.
* Keys come in any order.
"""

import re
from collections.abc import Sequence

import msgspec
from msgspec import Raw

from trio_collector.config.markets import Market, plain_symbol
from trio_collector.events import (
    Ack,
    Control,
    DataType,
    Event,
    IgnoredMessage,
    Parsed,
    Pong,
    Rejection,
    Topic,
    UnknownMessage,
)
from trio_collector.exchanges.adapter import Keepalive, Limits, Rate, Subscription
from trio_collector.exchanges.decoding import (
    ABSENT,
    ORDERBOOK,
    TRADE,
    Id,
    Milliseconds,
    SymbolNames,
    append_path,
)
from trio_collector.exchanges.exchange import Exchange, Op, Token

DEFAULT_CATEGORY = "spot"

# "Do not frequently connect and disconnect": 500 connects in 5 minutes. (connect)
CONNECTS = Rate(500, 300.0)
# 1000 connections for market data at a time, for an IP and a category. (rate-limit)
CONNECTIONS = 1000
# Spot takes 10 arguments in a request; elsewhere 10 keep small what one bad topic takes down.
TOPICS_PER_REQUEST = 10
# All arguments of a connection may take 21,000 characters, which is 42 for each. (connect)
TOPICS_PER_CONNECTION = 500

# Bybit recommends a ping every 20 s; the pong then comes within the 30 s of silence that the feed
# allows. (connect)
PING_INTERVAL_S = 20.0

_ENDPOINT = re.compile(r"/v5/public/(spot|linear|inverse)$")
# error:handler not found,topic:orderbook.500.BTCUSDT / Invalid topic: invalid.topic.BTCUSDT
_NAMED_TOPIC = re.compile(r"topic:\s*([^\s,]+)")


class _Book(
    msgspec.Struct,
    gc=False,
    rename={"symbol": "s", "bids": "b", "asks": "a", "update_id": "u"},
):
    """{"s":"BTCUSDT","b":[["75848.62","0.014895"],["75837.13","0"]],"a":[["75852.65","0"]],
    "u":2876701,"seq":47474967823}
    """

    symbol: str = ""
    bids: Raw = ABSENT
    asks: Raw = ABSENT
    update_id: Id | None = None


class _Trade(msgspec.Struct, gc=False, rename={"symbol": "s", "trade_id": "i", "traded_ms": "T"}):
    """{"i":"2290000000050703789","T":1680652847524,"p":"28165.38","v":"0.041732","S":"Sell",
    "s":"BTCUSDT","BT":false}
    """

    symbol: str = ""
    trade_id: str = ""
    traded_ms: Milliseconds | None = None


class _Frame(msgspec.Struct, gc=False):
    """A whole message.

    Data, recorded 2024-11-08:
        {"topic":"orderbook.50.BTCUSDT","ts":1731035685345,"type":"delta","data":{...},
        "cts":1731035685342}
        {"topic":"publicTrade.BTCUSDT","ts":1680652847526,"type":"snapshot","data":[{...},{...}]}
    Answers:
        {"success":true,"ret_msg":"subscribe","conn_id":"...","req_id":"1","op":"subscribe"}
        {"success":true,"ret_msg":"pong","conn_id":"...","op":"ping"}
    """

    topic: str = ""
    type: str = ""
    ts: Milliseconds | None = None
    data: _Book | list[_Trade] | None = None
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


_decode_frame = msgspec.json.Decoder(_Frame).decode


class Bybit(Exchange):
    """One category of Bybit; that of `base_url` holds if none is given."""

    name = "bybit"
    base_url = "wss://stream.bybit.com"
    book_channel = "orderbook.50"  # every 20 ms, on spot and linear alike. (orderbook)
    trades_channel = "publicTrade"
    limits = Limits(
        connects=(CONNECTS,),
        topics_per_connection=TOPICS_PER_CONNECTION,
        topics_per_request=TOPICS_PER_REQUEST,
        connections=CONNECTIONS,
    )
    keepalive: Keepalive | None = Keepalive("text", PING_INTERVAL_S, '{"op":"ping"}')
    contiguous_ids = frozenset({ORDERBOOK})
    has_incremental_books = True
    # Wrapper; books; trades, where `L` is that of derivatives. (orderbook, trade)
    fields = "topic type ts cts data s b a u seq T S v p L i BT RPI"

    def __init__(self, base_url: str | None = None, category: str | None = None) -> None:
        super().__init__(base_url)
        base = self._url.rstrip("/")
        endpoint = _ENDPOINT.search(base)
        category = category or (endpoint[1] if endpoint else DEFAULT_CATEGORY)
        # The endpoint and the names of rows never disagree about the category.
        self._url = append_path(_ENDPOINT.sub("", base), f"/v5/public/{category}")
        self._suffix = "" if category == "spot" else f".{category}"

    @classmethod
    def from_market(cls, market: Market, token: Token | None) -> "Bybit":
        return cls(market.base_url, market.category)

    def _row_name(self, symbol: str) -> str:
        return plain_symbol(symbol) + self._suffix

    def _request(self, op: Op, group: Sequence[Subscription], request_id: str) -> object:
        names = [f"{self._channels[each.feed]}.{each.symbol.upper()}" for each in group]
        return {"req_id": request_id, "op": op, "args": names}

    def _parse(self, frame: bytes) -> Parsed:
        message = _decode_frame(frame)
        if message.topic:
            return (_parse_data(message, self._names),)
        return (self._parse_control(message),)

    def _parse_control(self, message: _Frame) -> Control:
        if message.op == "pong" or (message.op == "ping" and message.ret_msg == "pong"):
            return Pong()
        is_unsubscribe = message.op == "unsubscribe" or self._is_unsubscribe(message.req_id)
        if message.success is False:
            if is_unsubscribe:
                return IgnoredMessage(f"unsubscribe refused, {message.ret_msg}")
            return _parse_refusal(message, self._names)
        if is_unsubscribe:
            return IgnoredMessage("unsubscribe")
        if message.op == "subscribe" and message.success:
            return Ack(message.req_id or None)
        if kind := message.op or message.type:
            return IgnoredMessage(kind)
        raise ValueError("neither data nor an answer")


def _data_type(topic: str) -> DataType | None:
    """Return what a topic brings; None for kinds that are not collected.

    orderbook.full and orderbook.rpi have forms of their own.
    """
    kind, _, rest = topic.partition(".")
    if kind == "publicTrade":
        return TRADE
    if kind == "orderbook" and rest.partition(".")[0].isdecimal():
        return ORDERBOOK
    return None


def _parse_data(message: _Frame, names: SymbolNames) -> Event | Control:
    data_type = _data_type(message.topic)
    if data_type is ORDERBOOK:
        return _parse_book(message, names)
    if data_type is TRADE:
        return _parse_trades(message, names)
    if message.topic == "system.status":
        # It tells of maintenance past and to come; it does not end this connection.
        return IgnoredMessage(message.topic)
    return UnknownMessage(message.topic.rpartition(".")[0] or message.topic)


def _parse_book(message: _Frame, names: SymbolNames) -> Event:
    book = message.data
    if not isinstance(book, _Book) or book.update_id is None or message.ts is None:
        raise ValueError("a book without id or time")
    if book.bids is ABSENT or book.asks is ABSENT:
        raise ValueError("a book without levels")
    if message.type not in ("snapshot", "delta"):
        raise ValueError("neither snapshot nor delta")
    is_provable = not message.topic.startswith("orderbook.1.")
    is_reset = is_provable and (message.type == "snapshot" or book.update_id == 1)
    return Event(
        symbol=names[book.symbol],
        data_type=ORDERBOOK,
        sequence_id=str(book.update_id),
        exchange_us=message.ts * 1_000,
        previous_id=book.update_id - 1 if is_provable and not is_reset else None,
        last_id=book.update_id if is_provable else None,
        is_reset=is_reset,
    )


def _parse_trades(message: _Frame, names: SymbolNames) -> Event:
    if not isinstance(message.data, list) or not message.data:
        raise ValueError("publicTrade without trades")
    last = message.data[-1]
    if not last.trade_id or last.traded_ms is None:
        raise ValueError("a trade without id or time")
    return Event(
        symbol=names[last.symbol],
        data_type=TRADE,
        sequence_id=last.trade_id,
        exchange_us=last.traded_ms * 1_000,
    )


def _parse_refusal(message: _Frame, names: SymbolNames) -> Control:
    topics = tuple(
        Topic(names[name.rpartition(".")[2]], data_type)
        for name in _NAMED_TOPIC.findall(message.ret_msg)
        if (data_type := _data_type(name)) is not None
    )
    if topics and "already subscribed" in message.ret_msg:
        # The first subscription keeps running: what was asked for is granted. As a rejection it
        # would be left out of the next request, although its data arrives.
        return Ack(topics=topics)
    return Rejection(message.ret_msg, message.req_id or None, topics, is_whole_request=True)
