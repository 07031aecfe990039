"""OKX v5: order books and trades of the public endpoint.

Documents, as of 2026-11-22:

* https://www.okx.com/docs-v5/en/#overview-websocket
* https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel
* https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-trades-channel

What shapes this file:

* Acks come one for each argument, and an error names no argument: every argument is a request of
  its own, with its own id.
* The `prevSeqId` of an update equals the last `seqId` of its instrument; ids go back after a
  maintenance, so greater or less means nothing. Without a change for a minute an update with equal
  ids comes. `checksum` is always 0 since 2026-06-23 and is not looked at.
* `books5` and `bbo-tbt` are whole books each time; their ids prove nothing.
* A message of `trades` may sum up several fills: `tradeId` is the last, `count` how many.
* Recordings of 2021 to 2023 lack `seqId` and `count`; then nothing is proven, either.
* Ids name the same message on every connection: "The set of sequence ID received by users is the
  same if users are connecting to the same channel through multiple websocket connections." So does
  the `tradeId` of a message, which sums up what one taker got at one price, and no two share it.
* One `seqId` may come again: without a change for a minute a book is said again, whole or as an
  update without levels; a snapshot has the id of the update that it includes; and after a
  maintenance ids may be those of earlier messages. Only on another connection is it a repetition.
* Resubscribing, which means unsubscribing first, brings a new snapshot of a book. A second subscribe
  alone is acked once more (recorded in 2022: 18 acks for 9 subscriptions), but whether it brings a
  snapshot was not seen. Trades have no past: resubscribing only helps one that fell silent.
* `ping` and `pong` are bare texts, not JSON.
* Port 8443 of ws.okx.com is said to be closed since 2026-10-31; the URL has none.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from trio_collector.config.markets import Market
from trio_collector.events import (
    Ack,
    Control,
    Event,
    GoingAway,
    IgnoredMessage,
    Parsed,
    Pong,
    Rejection,
    UnknownMessage,
)
from trio_collector.exchanges.adapter import Keepalive, Limits, Rate, Subscription
from trio_collector.exchanges.decoding import (
    ABSENT,
    ORDERBOOK,
    TRADE,
    Id,
    Milliseconds,
)
from trio_collector.exchanges.exchange import Exchange, Op, Token

# 400 levels, every 100 ms, and the one public channel whose ids prove that nothing is missing.
DEFAULT_BOOK_CHANNEL = "books"

# 3 connects a second for an IP; 480 subscribes, unsubscribes and logins an hour on a connection.
# (overview-websocket)
CONNECTS = Rate(3, 1.0)
REQUESTS = Rate(480, 3600.0)
# "Keep under 30 depth channels per connection", and all topics may be books. (order-book-channel)
TOPICS_PER_CONNECTION = 29

# OKX closes after 30 s of silence, and so does the feed: 20 s leave 10 for the pong.
# (overview-websocket)
PING_INTERVAL_S = 20.0


class _Argument(msgspec.Struct, gc=False):
    """{"channel":"books","instId":"BTC-USDT"}"""

    channel: str
    symbol: str = msgspec.field(name="instId", default="")


class _Item(msgspec.Struct, gc=False, rename="camel"):
    """One of `data`; numbers come as text, ids of books as numbers.

    books, from the documents:
        {"asks":[["8476.98","415","0","13"]],"bids":[["8476.97","256","0","12"]],
        "ts":"1597026383085","checksum":0,"prevSeqId":123456,"seqId":123457}
    trades, from the documents:
        {"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy",
        "ts":"1630048897897","count":"3","source":"0","seqId":1234}
    """

    ts: Milliseconds | None = None
    asks: Raw = ABSENT
    bids: Raw = ABSENT
    seq_id: Id | None = None
    prev_seq_id: Id | None = None
    trade_id: Id | None = None
    count: Id | None = None


class _Frame(msgspec.Struct, gc=False):
    """A whole message.

    Data: {"arg":{...},"action":"update","data":[...]}
    Ack: {"id":"1512","event":"subscribe","arg":{...},"connId":"a4d3ae55"}
    Error: {"id":"1512","event":"error","code":"60012","msg":"...","connId":"a4d3ae55"}
    """

    arg: _Argument | None = None
    action: str = ""
    data: list[_Item] | None = None
    event: str = ""
    id: str | None = None
    code: str = ""
    msg: str = ""
    channel: str = ""


# Not strict: `ts` and `tradeId` are numbers in quotes.
_decode_frame = msgspec.json.Decoder(_Frame, strict=False).decode


class Okx(Exchange):
    """OKX spot and derivatives; `book_channel` is books, books5 or bbo-tbt.

    Other channels of books are unknown messages: two of them in one stream would look like gaps.
    """

    name = "okx"
    base_url = "wss://ws.okx.com"  # wsaws.okx.com is not known to answer without the closed port
    path = "/ws/v5/public"
    book_channel = DEFAULT_BOOK_CHANNEL
    trades_channel = "trades"
    limits = Limits(
        connects=(CONNECTS,),
        topics_per_connection=TOPICS_PER_CONNECTION,
        topics_per_request=1,
        requests=REQUESTS,
    )
    keepalive: Keepalive | None = Keepalive("text", PING_INTERVAL_S, "ping", is_idle_only=True)
    contiguous_ids = frozenset({TRADE})
    global_ids = frozenset({ORDERBOOK, TRADE})
    # Wrapper; books, where books5 repeats `instId` (recorded in 2023); trades. (order-book-channel,
    # trades-channel)
    fields = (
        "arg channel instId action data asks bids ts checksum seqId prevSeqId"
        " tradeId px sz side count source"
    )

    def __init__(
        self, base_url: str | None = None, book_channel: str = DEFAULT_BOOK_CHANNEL
    ) -> None:
        super().__init__(base_url, book_channel=book_channel)
        self.has_incremental_books = book_channel == "books"

    @classmethod
    def from_market(cls, market: Market, token: Token | None) -> "Okx":
        return cls(market.base_url, market.book_channel or DEFAULT_BOOK_CHANNEL)

    def _request(self, op: Op, group: Sequence[Subscription], request_id: str) -> object:
        arguments = [
            {"channel": self._channels[each.feed], "instId": each.symbol.upper()} for each in group
        ]
        return {"id": request_id, "op": op, "args": arguments}

    def _parse(self, frame: bytes) -> Parsed:
        if frame == b"pong":
            return (Pong(),)
        message = _decode_frame(frame)
        return (self._parse_control(message) if message.event else self._parse_data(message),)

    def _parse_data(self, message: _Frame) -> Event | Control:
        if message.arg is None or not message.data:
            raise ValueError("neither data nor an event")
        data_type = self._data_types.get(message.arg.channel)
        if data_type is None:
            return UnknownMessage(message.arg.channel)
        parse = _parse_book if data_type is ORDERBOOK else _parse_trades
        return parse(message.action, message.data, self._names[message.arg.symbol])

    def _parse_control(self, message: _Frame) -> Control:
        match message.event:
            case "subscribe":
                return self._parse_ack(message)
            case "error":
                return self._refusal(message.id, f"code {message.code}: {message.msg}")
            case "notice":
                return GoingAway(f"code {message.code}: {message.msg}")
            case "channel-conn-count-error":
                # It comes after the ack and names a channel but no instrument.
                return Rejection(f"too many connections with channel {message.channel}")
            case _:
                return IgnoredMessage(message.event)

    def _parse_ack(self, message: _Frame) -> Ack:
        if message.arg is None:
            raise ValueError("an ack of nothing")
        topic = self._topic(message.arg.channel, message.arg.symbol)
        return Ack(message.id, () if topic is None else (topic,))


def _parse_book(action: str, items: list[_Item], symbol: str) -> Event:
    """Return the event of a snapshot or an update; `books5` and `bbo-tbt` have no action."""
    first, last = items[0], items[-1]
    if last.ts is None or last.asks is ABSENT or last.bids is ABSENT:
        raise ValueError("a book without time or levels")
    if action not in ("", "snapshot", "update"):
        raise ValueError("neither snapshot nor update")
    return Event(
        symbol=symbol,
        data_type=ORDERBOOK,
        sequence_id="" if last.seq_id is None else str(last.seq_id),
        exchange_us=last.ts * 1_000,
        # A snapshot follows on nothing: its prevSeqId is -1.
        previous_id=first.prev_seq_id if action == "update" else None,
        last_id=last.seq_id if action else None,
        is_reset=action == "snapshot",
    )


def _parse_trades(action: str, items: list[_Item], symbol: str) -> Event:
    first, last = items[0], items[-1]
    if last.ts is None or last.trade_id is None or first.trade_id is None:
        raise ValueError("trades without id or time")
    previous_id = None if first.count is None else first.trade_id - first.count
    return Event(
        symbol=symbol,
        data_type=TRADE,
        sequence_id=str(last.trade_id),
        exchange_us=last.ts * 1_000,
        previous_id=previous_id,
        last_id=None if previous_id is None else last.trade_id,
    )
