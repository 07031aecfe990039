"""Upbit: order books and trades in the SIMPLE format.

Documents, as of 2026-11-22:

* https://docs.upbit.com/kr/reference/websocket-guide
* https://docs.upbit.com/kr/reference/websocket-orderbook
* https://docs.upbit.com/kr/reference/rate-limits

What shapes this file:

* All types go into one request, because it is not stated whether a second one adds or replaces.
  There is no ack, and a wrong code is silent.
* Frames are binary with UTF-8 JSON inside. SIMPLE is asked for; DEFAULT (long keys) and the LIST
  forms (arrays) are read as well, since the format belongs to the connection and not the request.
* Nothing is unsubscribed: there is no request for it.
* Every book is a full snapshot without an id, and the `sid` of trades is unique but neither
  ordered nor contiguous: nothing proves that a message is missing.
* The `sid` of a trade, "Unique", names it on every connection, also where it comes again as the
  SNAPSHOT of a new subscription. A message of the LIST forms is named by its last trade; they are
  not asked for.
* `exchange_us` is `tms`, when Upbit made the message. The trade's own `ttms` was once in whole
  seconds, and stays in the row.
"""

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec import Raw

from trio_collector.config.markets import Market, plain_symbol
from trio_collector.events import (
    Control,
    Event,
    FeedType,
    IgnoredMessage,
    Parsed,
    Pong,
    Rejection,
    Topic,
    UnknownMessage,
)
from trio_collector.exchanges.adapter import Keepalive, Limits, Rate, SubscribeRequest, Subscription
from trio_collector.exchanges.decoding import (
    ABSENT,
    ORDERBOOK,
    TRADE,
    Id,
    Milliseconds,
    SymbolNames,
)
from trio_collector.exchanges.exchange import Exchange, Op, Token

# Upbit's own default and the deepest of 1, 5, 15 and 30. It is asked for by number, so that
# another change of the default, as that from 15, changes nothing here. (websocket-orderbook)
DEFAULT_UNITS = 30

# 5 connects and 5 requests a second; one request is all that a connection sends. (rate-limits)
CONNECTS = Rate(5, 1.0)
REQUESTS = Rate(5, 1.0)
# No limit is documented; this keeps the one request below some 4 kB.
TOPICS_PER_CONNECTION = 200

# Upbit closes after 120 s without traffic. 20 s, so that the answer also comes within the 30 s of
# silence that the feed allows. (websocket-guide)
PING_INTERVAL_S = 20.0

# A time above this is in microseconds: as milliseconds it is the year 5138, and as microseconds
# the limit is 1973. Books came with microseconds in August 2023.
# https://github.com/tardis-dev/tardis-node
FIRST_MICROSECONDS = 10**14


class _Message(
    msgspec.Struct,
    gc=False,
    rename={
        "kind": "ty",
        "code": "cd",
        "time": "tms",
        "sequential_id": "sid",
        "units": "obu",
        "long_kind": "type",
        "long_code": "code",
        "long_time": "timestamp",
        "long_sequential_id": "sequential_id",
        "long_units": "orderbook_units",
    },
):
    """One message; only what is needed, of every kind at once, by short and by long keys.

    orderbook, recorded 2021-04-17:
        {"ty":"orderbook","cd":"KRW-LAMB","tms":1618678262640,"tas":25752275.55420627,
        "tbs":14407925.20098682,"obu":[{"ap":127.0,"bp":126.0,"as":280460.37885666,
        "bs":688682.44561413}],"st":"REALTIME"}
    trade, recorded 2021-04-17:
        {"ty":"trade","cd":"KRW-LAMB","tms":1618678262712,"td":"2021-04-17","ttm":"16:51:02",
        "ttms":1618678262000,"tp":127.0,"tv":46.48838371,"ab":"BID","pcp":123.00000000,"c":"RISE",
        "cp":4.00000000,"sid":1618678262000003,"st":"REALTIME"}
    answers: {"status":"UP"}, {"error":{"name":"NO_CODES","message":"..."}},
        {"method":"LIST_SUBSCRIPTIONS","result":[...],"ticket":"..."}
    """

    kind: str = ""
    code: str = ""
    time: Milliseconds | None = None
    sequential_id: Id | None = None
    units: Raw = ABSENT
    long_kind: str = ""
    long_code: str = ""
    long_time: Milliseconds | None = None
    long_sequential_id: Id | None = None
    long_units: Raw = ABSENT
    status: str = ""
    error: "_Fault | None" = None
    method: str = ""


class _Fault(msgspec.Struct, gc=False):
    """{"name":"INVALID_AUTH","message":"..."}"""

    name: str = ""
    message: str = ""


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_list = msgspec.json.Decoder(list[_Message]).decode


class Upbit(Exchange):
    """Upbit Korea; `base_url` names another region's host, whose markets have other codes."""

    name = "upbit"
    base_url = "wss://api.upbit.com"
    path = "/websocket/v1"
    book_channel = "orderbook"
    trades_channel = "trade"
    has_request_ids = False  # errors do not repeat the ticket
    limits = Limits(
        connects=(CONNECTS,),
        topics_per_connection=TOPICS_PER_CONNECTION,
        requests=REQUESTS,
    )
    keepalive: Keepalive | None = Keepalive("frame", PING_INTERVAL_S)
    sends_acks = False
    global_ids = frozenset({TRADE})
    # SIMPLE, then DEFAULT; each of both types, of trades, and of books. (websocket-trade,
    # websocket-orderbook)
    fields = (
        "ty cd tms st"
        " td ttm ttms tp tv ab pcp c cp sid bap bas bbp bbs"
        " tas tbs obu ap bp as bs lv"
        " type code timestamp stream_type"
        " trade_date trade_time trade_timestamp trade_price trade_volume ask_bid prev_closing_price"
        " change change_price sequential_id best_ask_price best_ask_size best_bid_price"
        " best_bid_size"
        " total_ask_size total_bid_size orderbook_units ask_price bid_price ask_size bid_size"
        " level"
    )

    def __init__(self, base_url: str | None = None, units: int = DEFAULT_UNITS) -> None:
        super().__init__(base_url)
        self._units = units

    @classmethod
    def from_market(cls, market: Market, token: Token | None) -> "Upbit":
        return cls(market.base_url, market.units or DEFAULT_UNITS)

    def build_unsubscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        return []

    def _row_name(self, symbol: str) -> str:
        # A book is asked for as KRW-BTC.30.
        return plain_symbol(symbol.partition(".")[0])

    def _request(self, op: Op, group: Sequence[Subscription], request_id: str) -> object:
        parts: list[dict[str, object]] = [
            {"type": self._channels[feed], "codes": codes}
            for feed in (FeedType.TRADES, FeedType.ORDERBOOK)
            if (codes := [self._code(each) for each in group if each.feed is feed])
        ]
        return [{"ticket": _ticket(parts, int(request_id))}, *parts, {"format": "SIMPLE"}]

    def _code(self, subscription: Subscription) -> str:
        code = subscription.symbol.upper()
        return code if subscription.feed is FeedType.TRADES else f"{code}.{self._units}"

    def _parse(self, frame: bytes) -> Parsed:
        if frame[:1] == b"[":
            return _parse_list(_decode_list(frame), self._names)
        return (_parse_one(_decode_message(frame), self._names),)


def _ticket(parts: list[dict[str, object]], first_id: int) -> str:
    """Return a text shaped like a UUID that follows from the request alone."""
    digest = hashlib.sha256(msgspec.json.encode([first_id, parts])).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))


def _parse_list(messages: list[_Message], names: SymbolNames) -> Parsed:
    """Return one event for each stream, its latest, and the controls."""
    if not messages:
        raise ValueError("an empty list")
    events: dict[Topic, Event] = {}
    controls: list[Control] = []
    for message in messages:
        found = _parse_one(message, names)
        if isinstance(found, Event):
            events[Topic(found.symbol, found.data_type)] = found
        else:
            controls.append(found)
    return (*controls, *events.values())


def _parse_one(message: _Message, names: SymbolNames) -> Event | Control:
    kind = message.kind or message.long_kind
    if kind == "orderbook":
        return _parse_book(message, names)
    if kind == "trade":
        return _parse_trade(message, names)
    if kind:
        return UnknownMessage(kind)
    return _parse_control(message)


def _parse_book(message: _Message, names: SymbolNames) -> Event:
    if message.units is ABSENT and message.long_units is ABSENT:
        raise ValueError("orderbook without levels")
    return Event(
        symbol=names[message.code or message.long_code],
        data_type=ORDERBOOK,
        sequence_id="",
        exchange_us=_exchange_us(message),
    )


def _parse_trade(message: _Message, names: SymbolNames) -> Event:
    sequential_id = message.sequential_id
    if sequential_id is None:
        sequential_id = message.long_sequential_id
    if sequential_id is None:
        raise ValueError("trade without id")
    return Event(
        symbol=names[message.code or message.long_code],
        data_type=TRADE,
        sequence_id=str(sequential_id),
        exchange_us=_exchange_us(message),
    )


def _exchange_us(message: _Message) -> int:
    time = message.time or message.long_time
    if time is None:
        raise ValueError("a message without time")
    return time if time >= FIRST_MICROSECONDS else time * 1_000


def _parse_control(message: _Message) -> Control:
    if message.error is not None:
        return Rejection(f"{message.error.name}: {message.error.message}")
    if message.status == "UP":
        return Pong()
    if other := message.method or message.status:
        return IgnoredMessage(other)
    raise ValueError("neither data nor an answer")
