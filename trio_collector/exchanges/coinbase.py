"""Coinbase Advanced Trade: level2 and market_trades, with or without a key.

Documents, as of 2026-11-22:

* https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels
* https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-overview
* https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-rate-limits

What shapes this file:

* `sequence_num` counts the frames of a connection over all channels, acks and heartbeats included,
  so every frame yields a ConnectionSequence. Books have no ids of their own; trades do.
* `level2` is subscribed and `l2_data` arrives. No market channel needs a key; with one, every
  request carries a fresh token.
* A frame may hold several products and many trades, newest first.
* An ack lists all that is subscribed on the connection so far, and may come after the first data.
  The answer to an unsubscribe is the same list, of what is left: it grants nothing that was ended.
* No two frames of a connection share a `sequence_num`, but on another connection it names another
  frame, so nothing tells that two frames of a book are the same. Trades are named by the highest
  `trade_id`, which is alike everywhere. A frame is what came within 250 ms, and nothing says that
  connections cut time alike; frames that are cut differently have other ids, or hold what is known.
* A book is begun afresh by ending its subscription and asking again, and so are trades, whose
  snapshot may fill a hole.
* An error names neither channel nor request.
* A book of BTC-USDC is that of BTC-USD and arrives under that name, so both are `btcusd` here.
* `exchange_us` is the envelope's `timestamp`, rounded to microseconds.
"""

import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from trio_collector.config.markets import plain_symbol
from trio_collector.errors import UnreadableFrame
from trio_collector.events import (
    DATA_TYPE_OF,
    Ack,
    ConnectionSequence,
    Control,
    DataType,
    Event,
    FeedType,
    Heartbeat,
    Parsed,
    Rejection,
    Topic,
    UnknownMessage,
)
from trio_collector.exchanges.adapter import (
    Keepalive,
    Limits,
    NoRestSnapshots,
    Rate,
    SubscribeRequest,
    Subscription,
    topic_of,
)
from trio_collector.exchanges.decoding import (
    ABSENT,
    ORDERBOOK,
    TRADE,
    UNREADABLE,
    Id,
    SymbolNames,
    field_names,
    require_utf8,
)

BASE_URL = "wss://advanced-trade-ws.coinbase.com"

# 8 connections a second for an IP, 8 messages a second without a key. (websocket-rate-limits; the
# copy for Coinbase Business says 750 connections)
CONNECTS = Rate(8, 1.0)
REQUESTS = Rate(8, 1.0)
# No limit is documented; 30 products with both feeds were seen to work.
TOPICS_PER_CONNECTION = 60
# Without a subscribe the server closes after 5 s. (websocket-overview)
FIRST_REQUEST_S = 5.0

# "USDT-USDC and EURC-USDC are available on all channels"; other -USDC products deliver -USD.
# (websocket-channels)
TRUE_USDC_PRODUCTS = frozenset({"USDT-USDC", "EURC-USDC"})

CHANNELS = {FeedType.ORDERBOOK: "level2", FeedType.TRADES: "market_trades"}
DATA_TYPES = {channel: DATA_TYPE_OF[feed] for feed, channel in CHANNELS.items()}


class _Trade(msgspec.Struct, gc=False):
    """{"trade_id":"22381691","product_id":"ETH-USDT","price":"2375.56","size":"0.5",
    "side":"BUY","time":"2024-10-04T07:13:31.088388Z"}
    """

    trade_id: str
    product_id: str


class _Entry(msgspec.Struct, gc=False):
    """One of `events`; only what is needed, of every channel at once.

    l2_data:
        {"type":"update","product_id":"BTC-USD","updates":[{"side":"offer",
        "event_time":"2023-12-22T11:03:21.141822Z","price_level":"44162.87",
        "new_quantity":"0.77908682"}]}
    market_trades: {"type":"update","trades":[...]}
    subscriptions: {"subscriptions":{"level2":["BTC-USD"],"heartbeats":["heartbeats"]}}
    """

    type: str = ""
    product_id: str = ""
    updates: Raw = ABSENT
    trades: list[_Trade] | None = None
    subscriptions: dict[str, list[str]] | None = None


class _Frame(msgspec.Struct, gc=False):
    """A whole message, recorded 2023-12-22; `client_id` is often left out.

    {"channel":"l2_data","client_id":"","timestamp":"2023-12-22T11:03:21.339953956Z",
    "sequence_num":18,"events":[...]}

    {"type":"error","message":"authentication failure"}
    """

    channel: str = ""
    timestamp: Annotated[datetime.datetime, Meta(tz=True)] | None = None
    sequence_num: Id | None = None
    events: list[_Entry] | None = None
    type: str = ""
    message: str = ""
    reason: str = ""


_decode_frame = msgspec.json.Decoder(_Frame).decode
_decode_id = msgspec.json.Decoder(Id).decode  # of a number that comes as text


class Coinbase(NoRestSnapshots):
    """Coinbase Advanced Trade; `token` makes a fresh JWT for each request, if there is a key."""

    name = "coinbase"
    limits = Limits(
        connects=(CONNECTS,),
        topics_per_connection=TOPICS_PER_CONNECTION,
        requests=REQUESTS,
        requests_together=REQUESTS,
        first_request_s=FIRST_REQUEST_S,
    )
    # The heartbeats channel brings a frame every second, which keeps the other channels open and
    # the connection within the 30 s of silence that the feed allows.
    keepalive: Keepalive | None = None
    contiguous_ids: frozenset[DataType] = frozenset({DataType.TRADE})
    sends_acks = True
    max_session_s: float | None = None
    fallback_url: str | None = None
    global_ids: frozenset[DataType] = frozenset({DataType.TRADE})
    has_incremental_books: bool = True
    # Envelope, where `client_id` is often left out; l2_data; market_trades. (websocket-channels)
    known_fields: frozenset[str] = field_names(
        "channel client_id timestamp sequence_num events type product_id"
        " updates side event_time price_level new_quantity trades trade_id price size time"
    )

    def __init__(self, base_url: str | None = None, token: Callable[[], str] | None = None) -> None:
        self._url = base_url or BASE_URL
        self._token = token
        self._names = SymbolNames(_row_name)

    def normalize_symbol(self, symbol: str) -> str:
        return self._names[symbol]

    def websocket_url(self, line: int = 0) -> str:
        return self._url

    def build_subscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        """Return one request for heartbeats and one for each channel; none has an id."""
        if not subscriptions:
            return []
        requests = [SubscribeRequest(None, self._render("subscribe", "heartbeats"), ())]
        for channel, products in self._products(subscriptions):
            text = self._render("subscribe", channel, products.values())
            requests.append(SubscribeRequest(None, text, tuple(products)))
        return requests

    def build_unsubscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        """Return one request for each channel; none has an id, and heartbeats go on."""
        return [
            SubscribeRequest(None, self._render("unsubscribe", channel, products.values()), ())
            for channel, products in self._products(subscriptions)
        ]

    def _products(
        self, subscriptions: Sequence[Subscription]
    ) -> Iterator[tuple[str, dict[Topic, str]]]:
        """Yield each channel that is asked for, with its topics and their symbols.

        BTC-USD and BTC-USDC are one topic; asked for twice it would arrive twice.
        """
        for feed, channel in CHANNELS.items():
            if of_feed := [each for each in subscriptions if each.feed is feed]:
                yield channel, {topic_of(self, each): each.symbol for each in of_feed}

    def _render(self, kind: str, channel: str, symbols: Iterable[str] = ()) -> str:
        message: dict[str, object] = {"type": kind, "channel": channel}
        if products := [symbol.upper() for symbol in symbols]:
            message["product_ids"] = products
        if self._token is not None:
            message["jwt"] = self._token()
        return msgspec.json.encode(message).decode()

    def parse_message(self, frame: bytes) -> Parsed:
        try:
            require_utf8(frame)
            return _parse_frame(_decode_frame(frame), self._names)
        except UNREADABLE as exc:
            raise UnreadableFrame(self.name, str(exc), frame) from exc


def _row_name(symbol: str) -> str:
    product = symbol.upper()
    if product.endswith("-USDC") and product not in TRUE_USDC_PRODUCTS:
        product = product.removesuffix("C")
    return plain_symbol(product)


def _parse_frame(message: _Frame, names: SymbolNames) -> Parsed:
    if not message.channel:
        return (_parse_error(message),)
    said = _parse_channel(message, names)
    if message.sequence_num is None:
        return said
    # First, so that a lost frame is known before what follows it.
    return (ConnectionSequence(message.sequence_num), *said)


def _parse_channel(message: _Frame, names: SymbolNames) -> tuple[Event | Control, ...]:
    match message.channel:
        case "l2_data":
            return _parse_books(message, names)
        case "market_trades":
            return _parse_trades(message, names)
        case "heartbeats":
            return (Heartbeat(),)
        case "subscriptions":
            return (_parse_ack(message, names),)
        case _:
            return (UnknownMessage(message.channel),)


def _parse_books(message: _Frame, names: SymbolNames) -> tuple[Event, ...]:
    """Return an event for each product; frames without levels are normal, and are rows as well."""
    if message.sequence_num is None:
        raise ValueError("l2_data without sequence_num")
    resets: dict[str, bool] = {}
    for entry in _entries(message):
        if entry.updates is ABSENT:
            raise ValueError("l2_data without updates")
        symbol = names[entry.product_id]
        resets[symbol] = _is_snapshot(entry) or resets.get(symbol, False)
    return tuple(
        Event(
            symbol=symbol,
            data_type=ORDERBOOK,
            sequence_id=str(message.sequence_num),
            exchange_us=_exchange_us(message),
            is_reset=is_reset,
        )
        for symbol, is_reset in resets.items()
    )


def _parse_trades(message: _Frame, names: SymbolNames) -> tuple[Event, ...]:
    """Return an event for each product.

    The first message of a subscription is a snapshot of past trades. After a reconnect it overlaps
    with what is known, or shows by its lowest id how much is missing.
    """
    ids: dict[str, list[int]] = {}
    for entry in _entries(message):
        if entry.trades is None:
            raise ValueError("market_trades without trades")
        for trade in entry.trades:
            symbol = names[trade.product_id]
            ids.setdefault(symbol, []).append(_decode_id(trade.trade_id))
    return tuple(
        Event(
            symbol=symbol,
            data_type=TRADE,
            sequence_id=str(max(found)),
            exchange_us=_exchange_us(message),
            previous_id=min(found) - 1,
            last_id=max(found),
        )
        for symbol, found in ids.items()
    )


def _parse_ack(message: _Frame, names: SymbolNames) -> Ack:
    """Return what is granted so far; an ack of heartbeats alone names no topic."""
    topics = {
        Topic(names[product], DATA_TYPES[channel])
        for entry in _entries(message)
        for channel, products in (entry.subscriptions or {}).items()
        if channel in DATA_TYPES
        for product in products
    }
    return Ack(topics=tuple(sorted(topics)))


def _parse_error(message: _Frame) -> Rejection:
    if message.type != "error":
        raise ValueError("neither a channel nor an error")
    return Rejection(": ".join(filter(None, (message.message, message.reason))))


def _entries(message: _Frame) -> list[_Entry]:
    if message.events is None:
        raise ValueError(f"{message.channel} without events")
    return message.events


def _is_snapshot(entry: _Entry) -> bool:
    if entry.type not in ("snapshot", "update"):
        raise ValueError("neither snapshot nor update")
    return entry.type == "snapshot"


def _exchange_us(message: _Frame) -> int | None:
    """Return the envelope's time; None for none, and for year 1, which is none in Go."""
    if message.timestamp is None:
        return None
    return round(message.timestamp.timestamp() * 1e6) if message.timestamp.year > 1970 else None
