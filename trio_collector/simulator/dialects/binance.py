"""Binance spot, as its documents describe it.

https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md

`/binance/stream` wraps each payload as {"stream":…,"data":…}, `/binance/ws` sends it bare. A name
that does not exist is acked and stays silent. Nothing is sent at subscribing: a stream begins with
its next change.
"""

import functools
import re
import urllib.parse
from collections import deque
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import msgspec

from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.markets.book_side import Level
from trio_collector.simulator.markets.decimals import fixed
from trio_collector.simulator.markets.exchange import ExchangeFacts, SimulatedExchange, Topic
from trio_collector.simulator.markets.market import (
    SIZE_DECIMALS,
    Book,
    BookChange,
    Market,
    Match,
    Trade,
)
from trio_collector.simulator.net.frames import (
    Frame,
    Opcode,
    StreamKey,
    foreign_frame,
    plain_symbol,
    text_frame,
)

# "The WebSocket server will send a ping frame every 20 seconds. If the WebSocket server does not
# receive a pong frame back within a minute, the connection will be disconnected."
PING_MS = 20_000
PONG_MS = 60_000
# "WebSocket connections have a limit of 5 incoming messages per second", pings and pongs included.
MESSAGES_PER_S = 5

PLACES = 8  # digits behind the point, always
REST_LIMIT = 5000
# Weight of a depth request by its limit. (rest-api.md)
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1_000, 50))
DEPTH_MAX_WEIGHT = 250

# A flood of pings is a fault of ours; a client that answers each of them does not send too much.
FLOOD = b"flood"

_STREAM = re.compile(r"([^@]+)@(?:(trade)|depth(5|10|20)?(?:@100ms)?)")
_ID = re.compile(r"[A-Za-z0-9]{1,36}")


class Request(msgspec.Struct):
    """{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}"""

    method: str
    params: list[str] = []
    id: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | str | None = None


class DiffTopic(Topic):
    """`<symbol>@depth@100ms`: levels that changed, update ids U to u."""

    data_type = "orderbook"

    def __init__(self, name: str, market: Market, exchange_name: str) -> None:
        super().__init__(name, market, exchange_name)
        endpoint, _, stream = name.partition(" ")
        self._wrapping = ("", "") if endpoint == "ws" else (f'{{"stream":"{stream}","data":', "}")

    def on_book(self, change: BookChange) -> Iterable[Frame]:
        yield self.wrap(
            f'{{"e":"depthUpdate","E":{change.at_ms},"s":"{self.market.symbol}"'
            f',"U":{change.first_id},"u":{change.last_id}'
            f',"b":{_levels(change.bids, self.market)},"a":{_levels(change.asks, self.market)}}}',
            (change.first_id, change.last_id),
        )

    def wrap(self, payload: str, ids: tuple[int, int]) -> Frame:
        """Return `payload` as this topic's endpoint sends it."""
        before, after = self._wrapping
        return text_frame(f"{before}{payload}{after}", self.stream, ids=ids)


class PartialTopic(DiffTopic):
    """`<symbol>@depth20@100ms`: the best levels; no symbol, no time."""

    def __init__(self, depth: int, name: str, market: Market, exchange_name: str) -> None:
        super().__init__(name, market, exchange_name)
        self._depth = depth

    def on_book(self, change: BookChange) -> Iterable[Frame]:
        book = self.market.book(self._depth)
        yield self.wrap(_book_text(book, self.market), (book.last_id, book.last_id))


class TradeTopic(DiffTopic):
    """`<symbol>@trade`: one trade each, `t` without gaps."""

    data_type = "trade"

    def on_book(self, change: BookChange) -> Iterable[Frame]:
        return ()

    def on_match(self, match: Match) -> Iterable[Frame]:
        return map(self._frame, match.trades)

    def _frame(self, trade: Trade) -> Frame:
        decimals = self.market.price_decimals
        return self.wrap(
            f'{{"e":"trade","E":{trade.at_ms + 1},"s":"{self.market.symbol}","t":{trade.id}'
            f',"p":"{fixed(trade.price, decimals, PLACES)}"'
            f',"q":"{fixed(trade.size, SIZE_DECIMALS, PLACES)}","T":{trade.at_ms}'
            f',"m":{"false" if trade.is_taker_buy else "true"},"M":true}}',
            (trade.id, trade.id),
        )


class BinanceDialect(Dialect):
    """One connection to the market streams."""

    facts: ClassVar = ExchangeFacts("binance", is_trade_per_message=True)

    def __init__(self, exchange: SimulatedExchange, target: str, now_ms: int) -> None:
        super().__init__(exchange, target, now_ms)
        path, _, query = target.partition("?")
        self._endpoint = "stream" if path.rstrip("/").endswith("/stream") else "ws"
        self._names: dict[str, None] = {}
        self._heard: deque[int] = deque(maxlen=MESSAGES_PER_S + 1)
        self._ping_due = now_ms + PING_MS
        self._unanswered: dict[bytes, int] = {}  # pings and when they were sent
        streams = urllib.parse.parse_qs(query).get("streams", [""])[0]
        self._subscribe(filter(None, streams.split("/")))

    def answer(self, message: bytes, now_ms: int) -> None:
        self._count(now_ms)
        if self.is_closed:
            return
        try:
            request = msgspec.json.decode(message, type=Request)
        except msgspec.ValidationError as exc:
            self._refuse(2, f"Invalid request: {exc}", None)
        except (ValueError, RecursionError) as exc:
            self._refuse(3, f"Invalid JSON: {exc}", None)
        else:
            self._obey(request)

    def receive_control(self, opcode: Opcode, payload: bytes, now_ms: int) -> None:
        super().receive_control(opcode, payload, now_ms)
        if not payload.startswith(FLOOD):
            self._count(now_ms)
        # "Unsolicited pong frames are allowed, but will not prevent disconnection."
        if opcode is Opcode.PONG and payload in self._unanswered:
            self._unanswered.clear()

    def send_due(self, now_ms: int) -> None:
        if self._unanswered and now_ms - min(self._unanswered.values()) >= PONG_MS:
            self._unanswered.clear()
            self.close(1008, "Pong timeout")
        elif now_ms >= self._ping_due:
            self._ping_due = now_ms + PING_MS
            payload = str(now_ms).encode()
            self._unanswered[payload] = now_ms
            self.pending.append(Frame(payload, opcode=Opcode.PING))

    def send_notice(self, now_ms: int) -> None:
        payload = f'{{"e":"serverShutdown","E":{now_ms}}}'
        wrapped = f'{{"stream":"!serverShutdown","data":{payload}}}'
        self.pending.append(text_frame(wrapped if self._endpoint == "stream" else payload))

    def send_unknown(self, now_ms: int) -> None:
        payload = f'{{"e":"simulatorEvent","E":{now_ms},"s":"BTCUSDT","x":[1,"2"]}}'
        wrapped = f'{{"stream":"btcusdt@simulatorEvent","data":{payload}}}'
        self.pending.append(foreign_frame(wrapped if self._endpoint == "stream" else payload))

    def _obey(self, request: Request) -> None:
        if isinstance(request.id, str) and not _ID.fullmatch(request.id):
            self._refuse(2, "Invalid request: request ID must be an unsigned integer", None)
        elif request.method == "SUBSCRIBE":
            if any(map(self._is_refused, request.params)):
                self._refuse(2, "Invalid request: simulated refusal", request.id)
                return
            self.acknowledge(_answer(None, request.id))
            self._subscribe(request.params)
        elif request.method == "UNSUBSCRIBE":
            self._unsubscribe(request.params)
            self.acknowledge(_answer(None, request.id))
        elif request.method == "LIST_SUBSCRIPTIONS":
            self.pending.append(_answer(list(self._names), request.id))
        else:
            self._refuse(2, f"Invalid request: unknown variant `{request.method}`", request.id)

    def _subscribe(self, names: Iterable[str]) -> None:
        for name in names:
            self._names[name] = None
            match = _STREAM.fullmatch(name)
            market = (
                self.exchange.find(match[1].upper()) if match and name == name.lower() else None
            )
            if match and market:
                make = functools.partial(_make_topic, match, f"{self._endpoint} {name}", market)
                self.join(f"{self._endpoint} {name}", make)

    def _unsubscribe(self, names: Iterable[str]) -> None:
        for name in names:
            self._names.pop(name, None)
            self.drop(f"{self._endpoint} {name}")

    def _is_refused(self, name: str) -> bool:
        symbol, _, kind = name.partition("@")
        data_type = "trade" if kind == "trade" else "orderbook"
        return self.behaviour.refuses(StreamKey("binance", plain_symbol(symbol), data_type))

    def _refuse(self, code: int, text: str, request_id: int | str | None) -> None:
        """Send an error: flat as the documents print it, or nested as clients quote it."""
        reply: dict[str, Any] = {"code": code, "msg": text}
        if request_id is not None:
            reply = {"error": reply, "id": request_id}
        self.pending.append(Frame(msgspec.json.encode(reply)))

    def _count(self, now_ms: int) -> None:
        self._heard.append(now_ms)
        if len(self._heard) > MESSAGES_PER_S and now_ms - self._heard[0] < 1_000:
            self._heard.clear()
            self.close(1008, "Too many requests")


def _answer(result: Any, request_id: int | str | None) -> Frame:
    return Frame(msgspec.json.encode({"result": result, "id": request_id}))


def depth_weight(limit: int) -> int:
    """Return what a request for `limit` levels costs."""
    return next((weight for most, weight in DEPTH_WEIGHTS if limit <= most), DEPTH_MAX_WEIGHT)


def depth_snapshot(market: Market, limit: int, book: Book | None = None) -> str:
    """Return the body of GET /api/v3/depth: what a book from diffs is spliced onto.

    It is that of `book`, if the market's own of now is not wanted.
    """
    book = book or market.book(min(limit, REST_LIMIT))
    cut = book._replace(bids=book.bids[:limit], asks=book.asks[:limit])
    return _book_text(cut, market)


def _make_topic(match: re.Match[str], name: str, market: Market) -> Topic:
    if match[2]:
        return TradeTopic(name, market, "binance")
    if match[3]:
        return PartialTopic(int(match[3]), name, market, "binance")
    return DiffTopic(name, market, "binance")


def _book_text(book: Book, market: Market) -> str:
    return (
        f'{{"lastUpdateId":{book.last_id}'
        f',"bids":{_levels(book.bids, market)},"asks":{_levels(book.asks, market)}}}'
    )


def _levels(levels: list[Level], market: Market) -> str:
    decimals = market.price_decimals
    return f"[{','.join([_level(price, size, decimals) for price, size in levels])}]"


@functools.lru_cache(maxsize=65_536)
def _level(price: int, size: int, decimals: int) -> str:
    return f'["{fixed(price, decimals, PLACES)}","{fixed(size, SIZE_DECIMALS, PLACES)}"]'
