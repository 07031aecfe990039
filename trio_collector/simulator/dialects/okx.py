"""OKX v5, the public channels, as its documents describe them.

https://www.okx.com/docs-v5/en/#overview-websocket

Each arg of a subscribe is answered on its own: acked with its arg, or refused by an error that
carries the request's id but no arg. A `books` push names the id it follows (`prevSeqId`).
"""

import functools
import random
from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec

from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.markets.book_side import Level
from trio_collector.simulator.markets.decimals import trimmed
from trio_collector.simulator.markets.exchange import ExchangeFacts, SimulatedExchange, Topic
from trio_collector.simulator.markets.market import (
    SIZE_DECIMALS,
    Book,
    BookChange,
    Market,
    Match,
    Quiet,
)
from trio_collector.simulator.net.frames import (
    Frame,
    StreamKey,
    foreign_frame,
    plain_symbol,
    text_frame,
)

# "If there's a network problem ... no data pushed within 30 seconds": close code 4004.
SILENCE_MS = 30_000
# "no change for about 60 s": an update with no levels and seqId equal to prevSeqId.
QUIET_MS = 60_000


class Arg(msgspec.Struct):
    """{"channel":"books","instId":"BTC-USDT"}"""

    channel: str
    instId: str  # noqa: N815 - the name on the wire


class Request(msgspec.Struct):
    """{"id":"a1","op":"subscribe","args":[…]}"""

    op: str
    args: list[Arg]
    id: str | None = None


class BooksTopic(Topic):
    """`books`: a snapshot, then the levels that changed."""

    data_type = "orderbook"

    def snapshot(self, at_ms: int) -> Iterable[Frame]:
        book = self.market.book()
        yield self._frame("snapshot", book.bids, book.asks, at_ms, (-1, book.last_id))

    def on_book(self, change: BookChange) -> Iterable[Frame]:
        ids = (change.first_id - 1, change.last_id)
        yield self._frame("update", change.bids, change.asks, change.at_ms, ids)

    def on_quiet(self, quiet: Quiet) -> Iterable[Frame]:
        last_id = self.market.last_id
        yield self._frame("update", [], [], quiet.at_ms, (last_id, last_id))

    def _frame(
        self, action: str, bids: list[Level], asks: list[Level], at_ms: int, ids: tuple[int, int]
    ) -> Frame:
        previous_id, last_id = ids
        return text_frame(
            f'{{"arg":{{"channel":"books","instId":"{self.market.symbol}"}},"action":"{action}"'
            f',"data":[{{"asks":{_levels(asks, self.market)},"bids":{_levels(bids, self.market)}'
            f',"ts":"{at_ms}","checksum":0,"prevSeqId":{previous_id},"seqId":{last_id}}}]}}',
            self.stream,
            ids=(previous_id + 1 if action == "update" else last_id, last_id),
        )


class TopTopic(Topic):
    """`books5` and `bbo-tbt`: the best levels, whole each time."""

    data_type = "orderbook"

    def __init__(self, channel: str, name: str, market: Market, exchange_name: str) -> None:
        super().__init__(name, market, exchange_name)
        self._channel = channel
        self._depth = _DEPTHS[channel]

    def snapshot(self, at_ms: int) -> Iterable[Frame]:
        yield self._frame(self.market.book(self._depth), at_ms)

    def on_book(self, change: BookChange) -> Iterable[Frame]:
        yield self._frame(self.market.book(self._depth), change.at_ms)

    def _frame(self, book: Book, at_ms: int) -> Frame:
        market = self.market
        return text_frame(
            f'{{"arg":{{"channel":"{self._channel}","instId":"{market.symbol}"}},"data":[{{'
            f'"asks":{_levels(book.asks, market)},"bids":{_levels(book.bids, market)}'
            f',"instId":"{market.symbol}","ts":"{at_ms}","seqId":{book.last_id}}}]}}',
            self.stream,
            ids=(book.last_id, book.last_id),
        )


class TradesTopic(Topic):
    """`trades`: one element for all fills of an order; tradeId is the last, count how many."""

    data_type = "trade"

    def on_match(self, match: Match) -> Iterable[Frame]:
        last = match.trades[-1]
        size = sum(trade.size for trade in match.trades)
        symbol, decimals = self.market.symbol, self.market.price_decimals
        yield text_frame(
            f'{{"arg":{{"channel":"trades","instId":"{symbol}"}},"data":[{{"instId":"{symbol}"'
            f',"tradeId":"{last.id}","px":"{trimmed(last.price, decimals)}"'
            f',"sz":"{trimmed(size, SIZE_DECIMALS)}"'
            f',"side":"{"buy" if last.is_taker_buy else "sell"}","ts":"{match.at_ms}"'
            f',"count":"{len(match.trades)}","source":"0"'
            f',"seqId":{self.market.last_id}}}]}}',
            self.stream,
            ids=(match.trades[0].id, last.id),
        )


class OkxDialect(Dialect):
    """One connection to the public channels."""

    facts: ClassVar = ExchangeFacts("okx", quiet_ms=QUIET_MS)

    def __init__(self, exchange: SimulatedExchange, target: str, now_ms: int) -> None:
        super().__init__(exchange, target, now_ms)
        self._connection_id = f"{random.Random(now_ms).getrandbits(32):08x}"

    def answer(self, message: bytes, now_ms: int) -> None:
        if message == b"ping":
            if not self.behaviour.ignores_text_pings:
                self.pending.append(text_frame("pong"))
            return
        try:
            request = msgspec.json.decode(message, type=Request)
        except (ValueError, RecursionError):
            self._refuse("60012", f"Invalid request: {message.decode(errors='replace')}", None)
            return
        for arg in request.args:
            self._obey(request, arg)

    def send_due(self, now_ms: int) -> None:
        self.close_when_silent(now_ms, SILENCE_MS, 4004, "No data received in 30s.")

    def send_notice(self, now_ms: int) -> None:
        text = "The connection will soon be closed for a service upgrade. Please reconnect."
        self._reply(None, event="notice", code="64008", msg=text)

    def send_unknown(self, now_ms: int) -> None:
        self.pending.append(
            foreign_frame(
                f'{{"arg":{{"channel":"simulator-channel","instId":"BTC-USDT"}}'
                f',"data":[{{"ts":"{now_ms}","x":"1"}}]}}'
            )
        )

    def _obey(self, request: Request, arg: Arg) -> None:
        market = self.exchange.find(arg.instId)
        name = f"{arg.channel} {arg.instId}"
        if request.op not in ("subscribe", "unsubscribe"):
            self._refuse("60012", f"Invalid request: {request.op}", request.id)
        elif market is None or arg.channel not in _CHANNELS or self._is_refused(request, arg):
            self._refuse(
                "60018",
                f"Wrong URL or channel:{arg.channel},instId:{arg.instId} doesn't exist. Please use"
                " the correct URL, channel and parameters referring to API document.",
                request.id,
            )
        elif request.op == "subscribe":
            self.acknowledge(self._answer(request.id, event="subscribe", arg=arg))
            self.join(name, functools.partial(_make_topic, arg.channel, name, market))
        else:
            self.drop(name)
            self.acknowledge(self._answer(request.id, event="unsubscribe", arg=arg))

    def _is_refused(self, request: Request, arg: Arg) -> bool:
        data_type = "trade" if arg.channel == "trades" else "orderbook"
        stream = StreamKey("okx", plain_symbol(arg.instId), data_type)
        return request.op == "subscribe" and self.behaviour.refuses(stream)

    def _refuse(self, code: str, text: str, request_id: str | None) -> None:
        self._reply(request_id, event="error", code=code, msg=text)

    def _reply(self, request_id: str | None, **fields: Any) -> None:
        self.pending.append(self._answer(request_id, **fields))

    def _answer(self, request_id: str | None, **fields: Any) -> Frame:
        named = {} if request_id is None else {"id": request_id}
        return Frame(msgspec.json.encode({**named, **fields, "connId": self._connection_id}))


_DEPTHS = {"books5": 5, "bbo-tbt": 1}
_CHANNELS = ("books", *_DEPTHS, "trades")


def _make_topic(channel: str, name: str, market: Market) -> Topic:
    if channel == "books":
        return BooksTopic(name, market, "okx")
    if channel == "trades":
        return TradesTopic(name, market, "okx")
    return TopTopic(channel, name, market, "okx")


def _levels(levels: list[Level], market: Market) -> str:
    decimals = market.price_decimals
    return f"[{','.join([_level(price, size, decimals) for price, size in levels])}]"


@functools.lru_cache(maxsize=65_536)
def _level(price: int, size: int, decimals: int) -> str:
    """Return [price, size, "0" (no longer used), number of orders]."""
    orders = size % 9 + 1 if size else 0
    return f'["{trimmed(price, decimals)}","{trimmed(size, SIZE_DECIMALS)}","0","{orders}"]'
