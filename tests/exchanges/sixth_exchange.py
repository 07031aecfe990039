"""A sixth exchange, as a model of the file that adds one: books and trades in the manner of Kraken v2.

Documents: https://docs.kraken.com/api/docs/websocket-v2/book and .../trade. It is a test double:
names of fields follow the documents, numbers (limits, depth) are illustrative and were not checked.

What shapes this file:

* A request names one channel and any number of symbols; each symbol is acked or refused on its own,
  by the request's id, which is a number.
* Books have a checksum and no ids: nothing proves that a message is missing. Trades count up.
* `exchange_us` is the `timestamp` of the last item.
"""

import datetime
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from trio_collector.events import (
    Ack,
    Control,
    Event,
    FeedType,
    Heartbeat,
    IgnoredMessage,
    Parsed,
    Pong,
    UnknownMessage,
)
from trio_collector.exchanges.adapter import Keepalive, Limits, Rate, Subscription
from trio_collector.exchanges.decoding import ABSENT, ORDERBOOK, TRADE, Id, SymbolNames
from trio_collector.exchanges.exchange import Exchange, Op

DEPTH = 100


class _Item(msgspec.Struct, gc=False):
    """One of `data`; only what is needed, of both channels at once.

    book:  {"symbol":"SOL/USD","bids":[{"price":0.5,"qty":4.1}],"asks":[...],"checksum":2439117997,
           "timestamp":"2026-11-01T10:00:00.100000Z"}
    trade: {"symbol":"SOL/USD","side":"sell","price":0.51,"qty":40.0,"ord_type":"market",
           "trade_id":4665906,"timestamp":"2026-11-01T10:00:00.100000Z"}
    """

    symbol: str = ""
    timestamp: Annotated[datetime.datetime, Meta(tz=True)] | None = None
    bids: Raw = ABSENT
    asks: Raw = ABSENT
    trade_id: Id | None = None


class _Granted(msgspec.Struct, gc=False):
    """{"channel":"book","symbol":"SOL/USD","depth":100,"snapshot":true}"""

    channel: str = ""
    symbol: str = ""


class _Frame(msgspec.Struct, gc=False):
    """A whole message.

    Data: {"channel":"book","type":"update","data":[{...}]}, {"channel":"heartbeat"}
    Ack:  {"method":"subscribe","result":{...},"success":true,"req_id":1}
    Refusal: {"method":"subscribe","error":"...","success":false,"req_id":1}
    """

    channel: str = ""
    type: str = ""
    data: list[_Item] = []
    method: str = ""
    result: _Granted | None = None
    success: bool = True
    error: str = ""
    req_id: Id | None = None


_decode_frame = msgspec.json.Decoder(_Frame).decode


class SixthExchange(Exchange):
    """Spot markets, spelled SOL/USD."""

    name = "sixth"
    base_url = "wss://ws.sixth.invalid"
    path = "/v2"
    book_channel = "book"
    trades_channel = "trade"
    has_numeric_ids = True
    limits = Limits(
        connects=(Rate(150, 600.0),),
        topics_per_connection=200,
        topics_per_request=50,
    )
    keepalive: Keepalive | None = Keepalive("text", 20.0, '{"method":"ping"}')
    contiguous_ids = frozenset({TRADE})
    global_ids = frozenset({TRADE})
    has_incremental_books = True
    fields = (
        "channel type data symbol timestamp bids asks price qty checksum side ord_type trade_id"
    )

    def _split(self, subscriptions: Sequence[Subscription]) -> Iterable[Sequence[Subscription]]:
        for feed in FeedType:
            yield from super()._split([each for each in subscriptions if each.feed is feed])

    def _request(self, op: Op, group: Sequence[Subscription], request_id: str) -> object:
        parameters: dict[str, object] = {
            "channel": self._channels[group[0].feed],
            "symbol": [each.symbol.upper() for each in group],
        }
        if group[0].feed is FeedType.ORDERBOOK:
            parameters["depth"] = DEPTH
        return {"method": op, "params": parameters, "req_id": int(request_id)}

    def _parse(self, frame: bytes) -> Parsed:
        message = _decode_frame(frame)
        match message.channel:
            case "book":
                return (_parse_book(message, self._names),)
            case "trade":
                return _parse_trades(message, self._names)
            case "heartbeat":
                return (Heartbeat(),)
            case "status":
                return (IgnoredMessage("status"),)
            case "":
                return (self._parse_answer(message),)
        if not message.data:
            raise ValueError(f"{message.channel} without data")
        return (UnknownMessage(message.channel),)

    def _parse_answer(self, message: _Frame) -> Control:
        if message.method == "pong":
            return Pong()
        if not message.success:
            return self._refusal(message.req_id, message.error)
        if message.method == "subscribe" and message.result is not None:
            topic = self._topic(message.result.channel, message.result.symbol)
            return Ack(topics=() if topic is None else (topic,))
        if message.method:
            return IgnoredMessage(message.method)
        raise ValueError("neither data nor an answer")


def _parse_book(message: _Frame, names: SymbolNames) -> Event:
    if len(message.data) != 1 or message.type not in ("snapshot", "update"):
        raise ValueError("neither one snapshot nor one update")
    [book] = message.data
    if book.bids is ABSENT or book.asks is ABSENT:
        raise ValueError("a book without levels")
    return Event(
        symbol=names[book.symbol],
        data_type=ORDERBOOK,
        sequence_id="",
        exchange_us=_exchange_us(book),
        is_reset=message.type == "snapshot",
    )


def _parse_trades(message: _Frame, names: SymbolNames) -> tuple[Event, ...]:
    """Return an event for each symbol, named by the last trade."""
    trades: dict[str, list[_Item]] = {}
    for item in message.data:
        trades.setdefault(names[item.symbol], []).append(item)
    if not trades:
        raise ValueError("a message without trades")
    return tuple(_trades_event(symbol, of_symbol) for symbol, of_symbol in trades.items())


def _trades_event(symbol: str, trades: list[_Item]) -> Event:
    first, last = trades[0].trade_id, trades[-1].trade_id
    if first is None or last is None:
        raise ValueError("a trade without id")
    return Event(
        symbol=symbol,
        data_type=TRADE,
        sequence_id=str(last),
        exchange_us=_exchange_us(trades[-1]),
        previous_id=first - 1,
        last_id=last,
    )


def _exchange_us(item: _Item) -> int:
    if item.timestamp is None or item.timestamp.year <= 1970:
        raise ValueError("a message without time")
    return round(item.timestamp.timestamp() * 1e6)
