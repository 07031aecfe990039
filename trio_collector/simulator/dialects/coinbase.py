"""Coinbase Advanced Trade, the market channels, as its documents describe them.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels

`sequence_num` counts all frames of a connection, acks and heartbeats included; errors have none. A
topic therefore renders *events*, and the connection puts them into numbered frames: a snapshot on
its own, updates of several products together.
"""

import datetime
import functools
import itertools
from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec

from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.markets.book_side import Level
from trio_collector.simulator.markets.decimals import fixed
from trio_collector.simulator.markets.exchange import ExchangeFacts, SimulatedExchange, Topic
from trio_collector.simulator.markets.market import SIZE_DECIMALS, BookChange, Match, Quiet, Trade
from trio_collector.simulator.net.frames import Fate, Frame, StreamKey, plain_symbol, text_frame

# "You must send a subscribe message within 5 seconds". The close code is not documented.
FIRST_SUBSCRIBE_MS = 5_000
HEARTBEAT_MS = 1_000
# Live, the ack of level2 was frame 3, after the snapshot and two updates.
BOOK_ACK_DELAY_MS = 60
# Frames with `updates: []` are normal, seen live.
QUIET_MS = 5_000

PRICE_PLACES = 2
SIZE_PLACES = 8

CHANNELS = (
    "heartbeats", "candles", "status", "ticker", "ticker_batch", "level2", "market_trades",
)  # fmt: skip


class Request(msgspec.Struct):
    """{"type":"subscribe","product_ids":["BTC-USD"],"channel":"level2"}"""

    type: str
    channel: str
    product_ids: list[str] = []


class BookTopic(Topic):
    """`level2`, whose data comes as `l2_data`."""

    data_type = "orderbook"

    def snapshot(self, at_ms: int) -> Iterable[Frame]:
        book = self.market.book()
        yield self._event("snapshot", book.bids, book.asks, at_ms)

    def on_book(self, change: BookChange) -> Iterable[Frame]:
        yield self._event("update", change.bids, change.asks, change.at_ms)

    def on_quiet(self, quiet: Quiet) -> Iterable[Frame]:
        yield self._event("update", [], [], quiet.at_ms)

    def _event(self, kind: str, bids: list[Level], asks: list[Level], at_ms: int) -> Frame:
        time = _rfc3339(at_ms)
        updates = ",".join(
            [self._update("bid", level, time) for level in bids]
            + [self._update("offer", level, time) for level in asks]
        )
        return text_frame(
            f'{{"type":"{kind}","product_id":"{self.market.symbol}","updates":[{updates}]}}',
            self.stream,
        )

    def _update(self, side: str, level: Level, time: str) -> str:
        price, size = level
        quantity = fixed(size, SIZE_DECIMALS, SIZE_PLACES) if size else "0"
        return (
            f'{{"side":"{side}","event_time":"{time}"'
            f',"price_level":"{fixed(price, self.market.price_decimals, PRICE_PLACES)}"'
            f',"new_quantity":"{quantity}"}}'
        )


class TradesTopic(Topic):
    """`market_trades`: past trades first, then each match; newest first."""

    data_type = "trade"

    def snapshot(self, at_ms: int) -> Iterable[Frame]:
        yield self._event("snapshot", list(self.market.latest_trades))

    def on_match(self, match: Match) -> Iterable[Frame]:
        yield self._event("update", match.trades)

    def _event(self, kind: str, trades: list[Trade]) -> Frame:
        listed = ",".join([self._trade(trade) for trade in reversed(trades)])
        return text_frame(f'{{"type":"{kind}","trades":[{listed}]}}', self.stream)

    def _trade(self, trade: Trade) -> str:
        return (
            f'{{"product_id":"{self.market.symbol}","trade_id":"{trade.id}"'
            f',"price":"{fixed(trade.price, self.market.price_decimals, PRICE_PLACES)}"'
            f',"size":"{fixed(trade.size, SIZE_DECIMALS, SIZE_PLACES)}"'
            f',"time":"{_rfc3339(trade.at_ms)}"'
            # The documents call this the maker's side.
            f',"side":"{"SELL" if trade.is_taker_buy else "BUY"}"}}'
        )


def usd_product(symbol: str) -> str:
    """Return the product behind `symbol`: a -USDC book is that of -USD."""
    return f"{symbol[:-1]}" if symbol.endswith("-USDC") else symbol


class CoinbaseDialect(Dialect):
    """One connection to the market channels."""

    facts: ClassVar = ExchangeFacts("coinbase", quiet_ms=QUIET_MS, market_symbol=usd_product)

    def __init__(self, exchange: SimulatedExchange, target: str, now_ms: int) -> None:
        super().__init__(exchange, target, now_ms)
        self._sequence = 0
        self._subscriptions: dict[str, dict[str, None]] = {}
        self._events: dict[tuple[str, str], list[Frame]] = {}  # by channel and topic
        self._acks_due: list[int] = []
        self._heartbeat_due: int | None = None
        self._heartbeats = now_ms // 1_000 % 100_000
        self._is_asked = False

    def answer(self, message: bytes, now_ms: int) -> None:
        try:
            request = msgspec.json.decode(message, type=Request)
        except (ValueError, RecursionError):
            self._refuse("failed to parse message")
            return
        if request.channel not in CHANNELS:
            self._refuse("authentication failure")  # seen live, for a wrong channel
        elif request.type == "subscribe":
            self._subscribe(request, now_ms)
        elif request.type == "unsubscribe":
            self._unsubscribe(request)
            self._acknowledge_after(0, now_ms)
        else:
            self._refuse(f"unknown type {request.type}")

    def deliver(self, topic: Topic, frame: Frame) -> None:
        channel = "l2_data" if topic.data_type == "orderbook" else "market_trades"
        if frame.payload.startswith(b'{"type":"snapshot"'):
            self._send(channel, [frame], int(self.exchange.stepped_ms))
        else:
            self._events.setdefault((channel, topic.name), []).append(frame)

    def send_due(self, now_ms: int) -> None:
        self._send_events(now_ms)
        while self._acks_due and self._acks_due[0] <= now_ms:
            self._acks_due.pop(0)
            self._acknowledge(now_ms)
        if self._heartbeat_due is not None and now_ms >= self._heartbeat_due:
            self._heartbeat_due += HEARTBEAT_MS
            self._beat(now_ms)
        if not self._is_asked and now_ms - self.opened_ms >= FIRST_SUBSCRIBE_MS:
            self._is_asked = True
            self.close(1008, "no subscribe message within 5 seconds")

    def _subscribe(self, request: Request, now_ms: int) -> None:
        products = [usd_product(product) for product in request.product_ids]
        unknown = [product for product in products if self._is_unknown(request.channel, product)]
        if unknown or (not products and request.channel in _TOPICS):
            # The text is not documented; neither is what becomes of the request's other products.
            self._refuse(f"failed to subscribe: unknown product_ids {unknown}")
            return
        self._is_asked = True
        names = products if request.channel != "heartbeats" else ["heartbeats"]
        self._subscriptions.setdefault(request.channel, {}).update(dict.fromkeys(names))
        self._join(request.channel, products, now_ms)
        self._acknowledge_after(BOOK_ACK_DELAY_MS if request.channel == "level2" else 0, now_ms)

    def _is_unknown(self, channel: str, product: str) -> bool:
        data_type = "trade" if channel == "market_trades" else "orderbook"
        stream = StreamKey("coinbase", plain_symbol(product), data_type)
        return self.exchange.find(product) is None or self.behaviour.refuses(stream)

    def send_unknown(self, now_ms: int) -> None:
        self._send("simulator_channel", [_json_frame({"type": "update", "x": ["1"]})], now_ms)
        self.pending[-1] = self.pending[-1]._replace(fate=Fate.FOREIGN)

    def _join(self, channel: str, products: list[str], now_ms: int) -> None:
        if channel == "heartbeats" and self._heartbeat_due is None:
            self._heartbeat_due = now_ms + HEARTBEAT_MS
        if channel not in _TOPICS:
            return
        for product in products:
            market = self.exchange.find(product)
            if market is not None:
                name = f"{channel} {product}"
                make = functools.partial(_TOPICS[channel], name, market, "coinbase")
                self.join(name, make)

    def _unsubscribe(self, request: Request) -> None:
        self._send_events(int(self.exchange.stepped_ms))  # what came before comes before
        joined = self._subscriptions.get(request.channel, {})
        for product in [usd_product(product) for product in request.product_ids] or list(joined):
            joined.pop(product, None)
            self.drop(f"{request.channel} {product}")
        if not joined:
            self._subscriptions.pop(request.channel, None)
        if request.channel == "heartbeats":
            self._heartbeat_due = None

    def _send_events(self, now_ms: int) -> None:
        """Send the updates that came: the first of every product in one frame, and so on."""
        for channel in ("l2_data", "market_trades"):
            of_products = [self._events[key] for key in self._events if key[0] == channel]
            for events in itertools.zip_longest(*of_products):
                self._send(channel, [event for event in events if event], now_ms)
        self._events.clear()

    def _send(self, channel: str, events: list[Frame], now_ms: int) -> None:
        """Send `events` in the connection's next numbered frame."""
        client_id = '"client_id":"",' if channel == "l2_data" else ""
        head = (
            f'{{"channel":"{channel}",{client_id}'
            f'"timestamp":"{_rfc3339(now_ms + self.exchange.shift_ms)}"'
            f',"sequence_num":{self._sequence},"events":['
        )
        ids = (self._sequence, self._sequence)
        self._sequence += 1
        payload = b"".join((head.encode(), b",".join([event.payload for event in events]), b"]}"))
        streams = tuple(stream for event in events for stream in event.streams)
        self.pending.append(Frame(payload, streams, ids=ids))

    def _acknowledge_after(self, delay_ms: int, now_ms: int) -> None:
        """Send the list of subscriptions so much later, as far as behaviour go."""
        delay_ms += self.behaviour.ack_delay_ms
        if self.behaviour.withholds_acks:
            return
        if delay_ms:
            self._acks_due.append(now_ms + delay_ms)
            self._acks_due.sort()
        else:
            self._acknowledge(now_ms)

    def _acknowledge(self, now_ms: int) -> None:
        listed = {channel: list(names) for channel, names in self._subscriptions.items()}
        self._send("subscriptions", [_json_frame({"subscriptions": listed})], now_ms)

    def _beat(self, now_ms: int) -> None:
        self._heartbeats += 1
        moment = datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC)
        event = {
            "current_time": f"{moment:%Y-%m-%d %H:%M:%S.%f}000 +0000 UTC m=+{self._heartbeats}.5",
            "heartbeat_counter": self._heartbeats,
        }
        self._send("heartbeats", [_json_frame(event)], now_ms)

    def _refuse(self, text: str) -> None:
        self.pending.append(_json_frame({"type": "error", "message": text}))


_TOPICS: dict[str, type[Topic]] = {"level2": BookTopic, "market_trades": TradesTopic}


def _json_frame(value: dict[str, Any]) -> Frame:
    return Frame(msgspec.json.encode(value))


@functools.lru_cache(maxsize=1024)
def _rfc3339(at_ms: int) -> str:
    moment = datetime.datetime.fromtimestamp(at_ms // 1000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}000000Z"
