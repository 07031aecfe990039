"""Bybit v5, the public topics, as its documents describe them.

https://bybit-exchange.github.io/docs/v5/ws/connect

One ack for a request; one topic that does not exist fails all of it. Books of depth 50 and more
begin with a snapshot and go on in deltas, `u` rising by one. Depth 1 is whole each time and repeats
itself, with the same `u`, when nothing changes.
"""

import functools
import random
import re
import uuid
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
    Trade,
)
from trio_collector.simulator.net.frames import (
    Frame,
    StreamKey,
    foreign_frame,
    plain_symbol,
    text_frame,
)

QUIET_MS = 3_000  # level 1 is repeated after 3 s without a change
SILENCE_MS = 600_000  # "if there is no ping and no data for 10 minutes"
SPOT_ARGS = 10  # "Spot can input up to 10 args for each subscription request"

_TOPIC = re.compile(r"(?:orderbook\.(1|50|200|1000)|(publicTrade))\.(.+)")


class Request(msgspec.Struct):
    """{"req_id":"r1","op":"subscribe","args":["orderbook.50.BTCUSDT"]}"""

    op: str
    args: list[str] = []
    req_id: str | None = None


class BookTopic(Topic):
    """`orderbook.50.BTCUSDT` and deeper; `is_spot` only decides the order of keys."""

    data_type = "orderbook"

    def __init__(self, name: str, market: Market, exchange_name: str, *, is_spot: bool) -> None:
        super().__init__(name, market, exchange_name)
        self._is_spot = is_spot

    def snapshot(self, at_ms: int) -> Iterable[Frame]:
        yield self.whole(self.market.book(), at_ms)

    def on_book(self, change: BookChange) -> Iterable[Frame]:
        yield self._frame("delta", change, change.at_ms)

    def whole(self, book: Book, at_ms: int) -> Frame:
        """Return `book` as a snapshot."""
        return self._frame("snapshot", book, at_ms)

    def _frame(self, kind: str, levels: Book | BookChange, at_ms: int) -> Frame:
        times = (
            f'"ts":{at_ms + 2},"type":"{kind}"'
            if self._is_spot
            else f'"type":"{kind}","ts":{at_ms + 2}'
        )
        return text_frame(
            f'{{"topic":"{self.name}",{times},"data":{{"s":"{self.market.symbol}"'
            f',"b":{_levels(levels.bids, self.market)},"a":{_levels(levels.asks, self.market)}'
            f',"u":{levels.number},"seq":{levels.last_id}}},"cts":{at_ms}}}',
            self.stream,
            ids=(levels.number, levels.number),
        )


class BestTopic(BookTopic):
    """`orderbook.1.BTCUSDT`: the best level of each side, whole each time."""

    def snapshot(self, at_ms: int) -> Iterable[Frame]:
        yield self.whole(self.market.book(1), at_ms)

    def on_book(self, change: BookChange) -> Iterable[Frame]:
        yield self.whole(self.market.book(1), change.at_ms)

    def on_quiet(self, quiet: Quiet) -> Iterable[Frame]:
        yield self.whole(self.market.book(1), quiet.at_ms)


class TradeTopic(Topic):
    """`publicTrade.BTCUSDT`: all trades of a match, oldest first."""

    data_type = "trade"

    def __init__(self, name: str, market: Market, exchange_name: str, *, is_spot: bool) -> None:
        super().__init__(name, market, exchange_name)
        self._is_spot = is_spot

    def on_match(self, match: Match) -> Iterable[Frame]:
        trades = ",".join(map(self._trade, match.trades))
        yield text_frame(
            f'{{"topic":"{self.name}","type":"snapshot","ts":{match.at_ms + 2},"data":[{trades}]}}',
            self.stream,
        )

    def _trade(self, trade: Trade) -> str:
        symbol, decimals = self.market.symbol, self.market.price_decimals
        # Ids prove no loss: digits with gaps on spot, UUIDs elsewhere.
        trade_id = 2_290_000_000_000_000_000 + 3 * trade.id if self._is_spot else _uuid(trade.id)
        tick = "" if self._is_spot else '"L":"PlusTick",'
        return (
            f'{{"T":{trade.at_ms},"s":"{symbol}","S":"{"Buy" if trade.is_taker_buy else "Sell"}"'
            f',"v":"{trimmed(trade.size, SIZE_DECIMALS)}","p":"{trimmed(trade.price, decimals)}"'
            f',{tick}"i":"{trade_id}","BT":false,"RPI":false,"seq":{self.market.last_id}}}'
        )


class BybitDialect(Dialect):
    """One connection to the spot topics."""

    facts: ClassVar = ExchangeFacts("bybit", quiet_ms=QUIET_MS)
    is_spot: ClassVar = True

    def __init__(self, exchange: SimulatedExchange, target: str, now_ms: int) -> None:
        super().__init__(exchange, target, now_ms)
        self._connection_id = str(uuid.UUID(int=random.Random(now_ms).getrandbits(128), version=4))

    def answer(self, message: bytes, now_ms: int) -> None:
        try:
            request = msgspec.json.decode(message, type=Request)
        except (ValueError, RecursionError):
            self._reply(Request(op=""), is_success=False, text="error:request format invalid")
            return
        if request.op == "ping":
            if not self.behaviour.ignores_text_pings:
                self._reply(request, is_success=True, text="pong")
        elif request.op == "subscribe":
            self._subscribe(request)
        elif request.op == "unsubscribe":
            for name in request.args:
                self.drop(name)
            self.acknowledge(self._answer(request, is_success=True, text=""))
        else:
            self._reply(request, is_success=False, text=f"error:unknown op,op:{request.op}")

    def send_due(self, now_ms: int) -> None:
        self.close_when_silent(now_ms, SILENCE_MS, 1000, "")

    def _subscribe(self, request: Request) -> None:
        fault = self._fault_of(request.args)
        if fault:
            self._reply(request, is_success=False, text=fault)
            return
        # On spot the ack comes first. On linear it comes after the first data, as was seen live.
        if self.is_spot:
            self.acknowledge(self._answer(request, is_success=True, text="subscribe"))
        for name in request.args:
            self.join(name, functools.partial(self._make_topic, name))
        if not self.is_spot:
            self.acknowledge(self._answer(request, is_success=True, text=""))

    def send_unknown(self, now_ms: int) -> None:
        self.pending.append(
            foreign_frame(
                f'{{"topic":"simulatorTopic.BTCUSDT","ts":{now_ms},"type":"snapshot"'
                ',"data":{"x":"1"}}'
            )
        )

    def _fault_of(self, names: list[str]) -> str:
        """Return why the request is refused as a whole; empty if it is not."""
        if self.is_spot and len(names) > SPOT_ARGS:
            return f"args size >{SPOT_ARGS}"
        for name in names:
            match = _TOPIC.fullmatch(name)
            if match is None or self._is_unknown(match):
                return f"error:handler not found,topic:{name}"
            if name in self.topics:
                return f"error:already subscribed,topic:{name}"
        return ""

    def _is_unknown(self, match: re.Match[str]) -> bool:
        _, dot, family = self.exchange.name.partition(".")
        symbol = f"{plain_symbol(match[3])}{dot}{family}"
        stream = StreamKey("bybit", symbol, "trade" if match[2] else "orderbook")
        return self.exchange.find(match[3]) is None or self.behaviour.refuses(stream)

    def _make_topic(self, name: str) -> Topic:
        match = _TOPIC.fullmatch(name)
        market = match and self.exchange.find(match[3])
        if not match or not market:
            raise ValueError(f"no topic {name}")
        kind = TradeTopic if match[2] else BestTopic if match[1] == "1" else BookTopic
        return kind(name, market, self.exchange.name, is_spot=self.is_spot)

    def _reply(self, request: Request, *, is_success: bool, text: str) -> None:
        self.pending.append(self._answer(request, is_success=is_success, text=text))

    def _answer(self, request: Request, *, is_success: bool, text: str) -> Frame:
        reply: dict[str, Any] = {
            "success": is_success,
            "ret_msg": text,
            "conn_id": self._connection_id,
            "req_id": request.req_id or "",
            "op": request.op,
        }
        return Frame(msgspec.json.encode(reply))


class BybitFuturesDialect(BybitDialect):
    """One connection to the linear or the inverse topics."""

    is_spot: ClassVar = False


def _uuid(number: int) -> str:
    return str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128, version=4))


def _levels(levels: list[Level], market: Market) -> str:
    decimals = market.price_decimals
    return f"[{','.join([_level(price, size, decimals) for price, size in levels])}]"


@functools.lru_cache(maxsize=65_536)
def _level(price: int, size: int, decimals: int) -> str:
    return f'["{trimmed(price, decimals)}","{trimmed(size, SIZE_DECIMALS)}"]'
