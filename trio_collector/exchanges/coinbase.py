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
* Resubscribing brings a new snapshot of a book, and of trades, which may fill a gap.
* An error names neither channel nor request.
* A book of BTC-USDC is that of BTC-USD and arrives under that name, so both are `btcusd` here.
* `exchange_us` is the envelope's `timestamp`, rounded to microseconds.
"""

import datetime
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from trio_collector.config.markets import Market, plain_symbol
from trio_collector.events import (
    Ack,
    ConnectionSequence,
    Control,
    Event,
    Heartbeat,
    Parsed,
    Rejection,
    UnknownMessage,
)
from trio_collector.exchanges.adapter import Limits, Rate, SubscribeRequest, Subscription, topic_of
from trio_collector.exchanges.decoding import ABSENT, ORDERBOOK, TRADE, Id, SymbolNames
from trio_collector.exchanges.exchange import Exchange, Op, Token

# 8 connections a second for an IP, 8 messages a second without a key. (websocket-rate-limits; the
# copy for Coinbase Business says 750 connections)
CONNECTS = Rate(8, 1.0)
REQUESTS = Rate(8, 1.0)
# No limit is documented; 30 products with both feeds were seen to work.
TOPICS_PER_CONNECTION = 60

# "USDT-USDC and EURC-USDC are available on all channels"; other -USDC products deliver -USD.
# (websocket-channels)
TRUE_USDC_PRODUCTS = frozenset({"USDT-USDC", "EURC-USDC"})


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


class Coinbase(Exchange):
    """Coinbase Advanced Trade; `token` makes a fresh JWT for each request, if there is a key."""

    name = "coinbase"
    base_url = "wss://advanced-trade-ws.coinbase.com"
    book_channel = "level2"
    trades_channel = "market_trades"
    has_request_ids = False
    limits = Limits(
        connects=(CONNECTS,),
        topics_per_connection=TOPICS_PER_CONNECTION,
        requests=REQUESTS,
        requests_together=REQUESTS,
    )
    # No keepalive: the heartbeats channel brings a frame every second, which keeps the other
    # channels open and the connection within the 30 s of silence that the feed allows.
    contiguous_ids = frozenset({TRADE})
    global_ids = frozenset({TRADE})
    has_incremental_books = True
    # Envelope, where `client_id` is often left out; l2_data; market_trades. (websocket-channels)
    fields = (
        "channel client_id timestamp sequence_num events type product_id"
        " updates side event_time price_level new_quantity trades trade_id price size time"
    )

    def __init__(self, base_url: str | None = None, token: Token | None = None) -> None:
        super().__init__(base_url)
        self._token = token

    @classmethod
    def from_market(cls, market: Market, token: Token | None) -> "Coinbase":
        return cls(market.base_url, token)

    def build_subscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        """Return one request for heartbeats, which are never unsubscribed, and one per channel."""
        if not subscriptions:
            return []
        message = self._signed({"type": "subscribe", "channel": "heartbeats"})
        heartbeats = SubscribeRequest(None, msgspec.json.encode(message).decode(), ())
        return [heartbeats, *super().build_subscribe_messages(subscriptions, first_id)]

    def _row_name(self, symbol: str) -> str:
        product = symbol.upper()
        if product.endswith("-USDC") and product not in TRUE_USDC_PRODUCTS:
            product = product.removesuffix("C")
        return plain_symbol(product)

    def _split(self, subscriptions: Sequence[Subscription]) -> Iterable[Sequence[Subscription]]:
        """Yield the subscriptions of each channel.

        BTC-USD and BTC-USDC are one topic; asked for twice it would arrive twice.
        """
        for feed in self._channels:
            topics = {topic_of(self, each): each for each in subscriptions if each.feed is feed}
            if topics:
                yield list(topics.values())

    def _request(self, op: Op, group: Sequence[Subscription], request_id: str) -> object:
        products = [each.symbol.upper() for each in group]
        channel = self._channels[group[0].feed]
        return self._signed({"type": op, "channel": channel, "product_ids": products})

    def _signed(self, message: dict[str, object]) -> dict[str, object]:
        return message if self._token is None else {**message, "jwt": self._token()}

    def _parse(self, frame: bytes) -> Parsed:
        message = _decode_frame(frame)
        if not message.channel:
            return (_parse_error(message),)
        said = self._parse_channel(message)
        if message.sequence_num is None:
            return said
        # First, so that a lost frame is known before what follows it.
        return (ConnectionSequence(message.sequence_num), *said)

    def _parse_channel(self, message: _Frame) -> tuple[Event | Control, ...]:
        match message.channel:
            case "l2_data":
                return _parse_books(message, self._names)
            case "market_trades":
                return _parse_trades(message, self._names)
            case "heartbeats":
                return (Heartbeat(),)
            case "subscriptions":
                return (self._parse_ack(message),)
            case _:
                return (UnknownMessage(message.channel),)

    def _parse_ack(self, message: _Frame) -> Ack:
        """Return what is granted so far; an ack of heartbeats alone names no topic."""
        topics = {
            topic
            for entry in _entries(message)
            for channel, products in (entry.subscriptions or {}).items()
            for product in products
            if (topic := self._topic(channel, product)) is not None
        }
        return Ack(topics=tuple(sorted(topics)))


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
