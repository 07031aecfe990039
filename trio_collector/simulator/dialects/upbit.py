"""Upbit, the public WebSocket, as its documents describe it.

https://docs.upbit.com/kr/reference/websocket-guide

Every frame is binary. A request is one JSON array and is not acked; a code that does not exist is
silent. Each subscription begins with a SNAPSHOT and goes on in REALTIME; books are whole each time
and nothing is numbered. A second request replaces the first, which the documents leave open.
"""

import datetime
import functools
import json
from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec

from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.markets.decimals import number
from trio_collector.simulator.markets.exchange import ExchangeFacts, SimulatedExchange, Topic
from trio_collector.simulator.markets.market import SIZE_DECIMALS, BookChange, Market, Match, Trade
from trio_collector.simulator.net.frames import Fate, Frame, Opcode, StreamKey, plain_symbol

# "The connection is closed when nothing is sent or received for about 120 seconds."
SILENCE_MS = 120_000
UNITS = {"1": 1, "5": 5, "15": 15}  # anything else is 30

# Names of fields: DEFAULT, and SIMPLE in its place.
_SIMPLE = {
    "type": "ty", "code": "cd", "timestamp": "tms", "total_ask_size": "tas",
    "total_bid_size": "tbs", "orderbook_units": "obu", "ask_price": "ap", "bid_price": "bp",
    "ask_size": "as", "bid_size": "bs", "level": "lv", "stream_type": "st", "trade_date": "td",
    "trade_time": "ttm", "trade_timestamp": "ttms", "trade_price": "tp", "trade_volume": "tv",
    "ask_bid": "ab", "prev_closing_price": "pcp", "change": "c", "change_price": "cp",
    "sequential_id": "sid",
}  # fmt: skip
_DEFAULT = {name: name for name in _SIMPLE}


class BookTopic(Topic):
    """`orderbook` of one code: `units` levels a side."""

    data_type = "orderbook"

    def __init__(
        self, name: str, market: Market, exchange_name: str, *, is_simple: bool, units: int = 30
    ) -> None:
        super().__init__(name, market, exchange_name)
        self._names = _SIMPLE if is_simple else _DEFAULT
        self._units = units

    def snapshot(self, at_ms: int) -> Iterable[Frame]:
        yield self._frame(at_ms, "SNAPSHOT")

    def on_book(self, change: BookChange) -> Iterable[Frame]:
        yield self._frame(change.at_ms, "REALTIME")

    def _frame(self, at_ms: int, stream_type: str) -> Frame:
        book = self.market.book(self._units)
        fields = {
            "type": '"orderbook"',
            "code": f'"{self.market.symbol}"',
            "timestamp": str(at_ms),
            "total_ask_size": number(sum(size for _, size in book.asks), SIZE_DECIMALS),
            "total_bid_size": number(sum(size for _, size in book.bids), SIZE_DECIMALS),
            "orderbook_units": f"[{','.join(map(self._unit, book.asks, book.bids))}]",
            "stream_type": f'"{stream_type}"',
            "level": "0",
        }
        return _binary(fields, self._names, self.stream)

    def _unit(self, ask: tuple[int, int], bid: tuple[int, int]) -> str:
        names, decimals = self._names, self.market.price_decimals
        return (
            f'{{"{names["ask_price"]}":{number(ask[0], decimals)}'
            f',"{names["bid_price"]}":{number(bid[0], decimals)}'
            f',"{names["ask_size"]}":{number(ask[1], SIZE_DECIMALS)}'
            f',"{names["bid_size"]}":{number(bid[1], SIZE_DECIMALS)}}}'
        )


class TradeTopic(Topic):
    """`trade` of one code: one trade in a message."""

    data_type = "trade"

    def __init__(
        self, name: str, market: Market, exchange_name: str, *, is_simple: bool, units: int = 30
    ) -> None:
        super().__init__(name, market, exchange_name)
        self._names = _SIMPLE if is_simple else _DEFAULT

    def snapshot(self, at_ms: int) -> Iterable[Frame]:
        yield self._frame(self.market.latest_trades[-1], "SNAPSHOT")

    def on_match(self, match: Match) -> Iterable[Frame]:
        for trade in match.trades:
            yield self._frame(trade, "REALTIME")

    def _frame(self, trade: Trade, stream_type: str) -> Frame:
        date, time = _date_and_time(trade.at_ms)
        decimals = self.market.price_decimals
        fields = {
            "type": '"trade"',
            "code": f'"{self.market.symbol}"',
            "timestamp": str(trade.at_ms + 30),
            "trade_date": f'"{date}"',
            "trade_time": f'"{time}"',
            "trade_timestamp": str(trade.at_ms),
            "trade_price": number(trade.price, decimals),
            "trade_volume": number(trade.size, SIZE_DECIMALS),
            "ask_bid": '"BID"' if trade.is_taker_buy else '"ASK"',
            "prev_closing_price": number(trade.price, decimals),
            "change": '"EVEN"',
            "change_price": "0",
            "sequential_id": str(sequential_id(trade)),
            "stream_type": f'"{stream_type}"',
        }
        return _binary(fields, self._names, self.stream)


def sequential_id(trade: Trade) -> int:
    """Return an id that is unique, but with gaps, and out of order in every pair of trades."""
    return 1_700_000_000_000_000 + 7 * (trade.id ^ 1)


class UpbitDialect(Dialect):
    """One connection to the public types."""

    facts: ClassVar = ExchangeFacts("upbit", is_trade_per_message=True)

    def __init__(self, exchange: SimulatedExchange, target: str, now_ms: int) -> None:
        super().__init__(exchange, target, now_ms)
        self._types: list[dict[str, Any]] = []
        self._is_simple = False

    def answer(self, message: bytes, now_ms: int) -> None:
        if message == b"PING":
            if not self.behaviour.ignores_text_pings:
                self.pending.append(Frame(b'{"status":"UP"}', opcode=Opcode.BINARY))
            return
        try:
            parts = msgspec.json.decode(message, type=list[dict[str, Any]])
        except (ValueError, RecursionError):
            self._refuse("WRONG_FORMAT", "not a JSON array of objects")
            return
        fields = {key: value for part in parts for key, value in part.items()}
        types = [part for part in parts if "type" in part]
        fault = _fault_of(fields, types)
        if fault:
            self._refuse(*fault)
        elif fields.get("method") == "LIST_SUBSCRIPTIONS":
            reply = {"method": "LIST_SUBSCRIPTIONS", "result": self._types}
            self._reply({**reply, "ticket": fields["ticket"]})
        elif any(map(self._is_refused, types)):
            self._refuse("INVALID_PARAM", "simulated refusal")
        else:
            self._is_simple = fields.get("format") == "SIMPLE"
            self._replace(types, is_simple=self._is_simple)

    def send_unknown(self, now_ms: int) -> None:
        names = _SIMPLE if self._is_simple else _DEFAULT
        fields = {"type": '"simulatorType"', "code": '"KRW-BTC"', "timestamp": str(now_ms)}
        self.pending.append(_binary(fields, names)._replace(fate=Fate.FOREIGN))

    def _is_refused(self, wanted: dict[str, Any]) -> bool:
        symbols = [plain_symbol(code.partition(".")[0]) for code in wanted["codes"]]
        streams = [StreamKey("upbit", symbol, wanted["type"]) for symbol in symbols]
        return any(map(self.behaviour.refuses, streams))

    def send_due(self, now_ms: int) -> None:
        self.close_when_silent(now_ms, SILENCE_MS, 1000, "")

    def _replace(self, types: list[dict[str, Any]], *, is_simple: bool) -> None:
        self.unsubscribe_all()
        self._types = types
        for wanted in types:
            for code in wanted["codes"]:
                self._subscribe(wanted, code, is_simple=is_simple)

    def _subscribe(self, wanted: dict[str, Any], code: str, *, is_simple: bool) -> None:
        symbol, _, units = code.partition(".")
        market = self.exchange.find(symbol)
        kind = {"orderbook": BookTopic, "trade": TradeTopic}.get(wanted["type"])
        if market is None or kind is None:
            return
        depth = UNITS.get(units, 30)
        name = f"{wanted['type']} {symbol} {depth} {is_simple}"
        make = functools.partial(kind, name, market, "upbit", is_simple=is_simple, units=depth)
        before = len(self.pending)
        self.join(name, make)
        if _is_set(wanted, "is_only_realtime", "isOnlyRealtime"):
            del self.pending[before:]
        elif _is_set(wanted, "is_only_snapshot", "isOnlySnapshot"):
            self.drop(name)

    def _refuse(self, name: str, text: str) -> None:
        self._reply({"error": {"name": name, "message": text}})

    def _reply(self, reply: dict[str, Any]) -> None:
        # The standard library's: it takes back every number that a client may have sent.
        self.pending.append(Frame(json.dumps(reply).encode(), opcode=Opcode.BINARY))


def _fault_of(fields: dict[str, Any], types: list[dict[str, Any]]) -> tuple[str, str] | None:
    """Return name and text of the error that a request deserves; None if it is sound."""
    if "ticket" not in fields:
        return "NO_TICKET", "a ticket is missing"
    if fields.get("method") == "LIST_SUBSCRIPTIONS":
        return None
    if not types:
        return "NO_TYPE", "a type is missing"
    if any(not part.get("codes") for part in types):
        return "NO_CODES", "codes are missing"
    if fields.get("format", "DEFAULT") not in ("DEFAULT", "SIMPLE"):
        return "INVALID_PARAM", "this format is not simulated"
    if not all(_is_sound(part) for part in types):
        return "INVALID_PARAM", "type is a text and codes are a list of texts"
    return None


def _is_sound(part: dict[str, Any]) -> bool:
    codes = part["codes"]
    is_list = isinstance(codes, list) and all(isinstance(code, str) for code in codes)
    return isinstance(part["type"], str) and is_list


def _is_set(wanted: dict[str, Any], *names: str) -> bool:
    """Return whether a flag is set, in today's spelling or that of 2021."""
    return any(wanted.get(name) is True for name in names)


def _binary(fields: dict[str, str], names: dict[str, str], *streams: StreamKey) -> Frame:
    members = ",".join([f'"{names[field]}":{text}' for field, text in fields.items()])
    return Frame(f"{{{members}}}".encode(), streams, Opcode.BINARY)


@functools.lru_cache(maxsize=1024)
def _date_and_time(at_ms: int) -> tuple[str, str]:
    moment = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return f"{moment:%Y-%m-%d}", f"{moment:%H:%M:%S}"
