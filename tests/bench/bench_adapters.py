"""How long each adapter takes for a frame: `python -m tests.bench.bench_adapters`.

The best of several runs, because everything else on the machine only ever adds to it.
"""

import json
import timeit
from typing import NamedTuple

from trio_collector.events import Event
from trio_collector.exchanges.adapter import Adapter
from trio_collector.exchanges.binance import Binance
from trio_collector.exchanges.bybit import Bybit
from trio_collector.exchanges.coinbase import Coinbase
from trio_collector.exchanges.okx import Okx
from trio_collector.exchanges.upbit import Upbit

CALLS = 20_000
RUNS = 7


class Case(NamedTuple):
    """One form of frame."""

    name: str
    adapter: Adapter
    message: object

    @property
    def frame(self) -> bytes:
        return json.dumps(self.message, separators=(",", ":")).encode()


def levels(count: int, *, more: tuple[str, ...] = ()) -> list[list[str]]:
    return [[f"{43640 + n}.01000000", "1.50000000", *more] for n in range(count)]


TRADE = {
    "e": "trade",
    "E": 1672515782136,
    "s": "BNBBTC",
    "t": 12345,
    "p": "0.001",
    "q": "100",
    "T": 1672515782136,
    "m": True,
    "M": True,
}
DIFF = {
    "e": "depthUpdate",
    "E": 1672515782136,
    "s": "BNBBTC",
    "U": 157,
    "u": 160,
    "b": levels(5),
    "a": levels(5),
}
PARTIAL = {"lastUpdateId": 17044571457, "bids": levels(20), "asks": levels(20)}
L2_UPDATES = [
    {
        "side": "bid",
        "event_time": "2023-12-22T11:03:21.141822Z",
        "price_level": f"{43640 + n}.01",
        "new_quantity": "0.5",
    }
    for n in range(10)
]
COINBASE_TRADES = [
    {
        "product_id": "ETH-USD",
        "trade_id": str(22381691 - n),
        "price": "2375.56",
        "size": "0.5",
        "time": "2024-10-04T07:13:31.088388Z",
        "side": "BUY",
    }
    for n in range(2)
]
OKX_BOOK = {
    "asks": levels(5, more=("0", "3")),
    "bids": levels(5, more=("0", "3")),
    "ts": "1597026383085",
    "checksum": 0,
    "prevSeqId": 123456,
    "seqId": 123457,
}
OKX_TRADE = {
    "instId": "BTC-USDT",
    "tradeId": "130639474",
    "px": "42219.9",
    "sz": "0.12060306",
    "side": "buy",
    "ts": "1630048897897",
    "count": "3",
    "source": "0",
    "seqId": 1234,
}
BYBIT_BOOK = {"s": "BTCUSDT", "b": levels(5), "a": levels(5), "u": 177400507, "seq": 66544703342}
BYBIT_TRADE = {
    "i": "2290000000050703789",
    "T": 1680652847524,
    "p": "28165.38",
    "v": "0.041732",
    "S": "Sell",
    "s": "BTCUSDT",
    "BT": False,
}
UPBIT_BOOK = {
    "ty": "orderbook",
    "cd": "KRW-LAMB",
    "tms": 1618678262640,
    "tas": 25752275.55420627,
    "tbs": 14407925.20098682,
    "obu": [
        {"ap": 127.0 + n, "bp": 126.0 - n, "as": 280460.37885666, "bs": 688682.44561413}
        for n in range(15)
    ],
    "st": "REALTIME",
}
UPBIT_TRADE = {
    "ty": "trade",
    "cd": "KRW-LAMB",
    "tms": 1618678262712,
    "td": "2021-04-17",
    "ttm": "16:51:02",
    "ttms": 1618678262000,
    "tp": 127.0,
    "tv": 46.48838371,
    "ab": "BID",
    "pcp": 123.0,
    "c": "RISE",
    "cp": 4.0,
    "sid": 1618678262000003,
    "st": "REALTIME",
}


def coinbase_frame(channel: str, event: dict[str, object]) -> dict[str, object]:
    return {
        "channel": channel,
        "timestamp": "2023-12-22T11:03:21.339953956Z",
        "sequence_num": 18,
        "events": [{"type": "update", **event}],
    }


CASES = [
    Case("binance trade", Binance(), {"stream": "bnbbtc@trade", "data": TRADE}),
    Case("binance book, 20 levels", Binance(), {"stream": "bnbbtc@depth20", "data": PARTIAL}),
    Case("binance diff", Binance(), {"stream": "bnbbtc@depth@100ms", "data": DIFF}),
    Case(
        "coinbase l2 update",
        Coinbase(),
        coinbase_frame("l2_data", {"product_id": "BTC-USD", "updates": L2_UPDATES}),
    ),
    Case(
        "coinbase l2 snapshot",
        Coinbase(),
        coinbase_frame("l2_data", {"product_id": "BTC-USD", "updates": L2_UPDATES * 4_400}),
    ),
    Case(
        "coinbase two trades",
        Coinbase(),
        coinbase_frame("market_trades", {"trades": COINBASE_TRADES}),
    ),
    Case("upbit book, 15 levels", Upbit(), UPBIT_BOOK),
    Case("upbit trade", Upbit(), UPBIT_TRADE),
    Case(
        "okx book update",
        Okx(),
        {
            "arg": {"channel": "books", "instId": "BTC-USDT"},
            "action": "update",
            "data": [OKX_BOOK],
        },
    ),
    Case(
        "okx trade",
        Okx(),
        {"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": [OKX_TRADE]},
    ),
    Case(
        "bybit delta",
        Bybit(),
        {
            "topic": "orderbook.50.BTCUSDT",
            "ts": 1687940967466,
            "type": "delta",
            "data": BYBIT_BOOK,
            "cts": 1687940967464,
        },
    ),
    Case(
        "bybit trade",
        Bybit(),
        {
            "topic": "publicTrade.BTCUSDT",
            "ts": 1680652847526,
            "type": "snapshot",
            "data": [BYBIT_TRADE],
        },
    ),
]


def measure(case: Case) -> float:
    """Return the nanoseconds that one frame takes."""
    frame, parse = case.frame, case.adapter.parse_message
    assert isinstance(parse(frame)[-1], Event)
    calls = max(5, CALLS * 200 // max(200, len(frame)))
    return min(timeit.repeat(lambda: parse(frame), number=calls, repeat=RUNS)) / calls * 1e9


def main() -> None:
    print(f"{'frame':<26}{'bytes':>10}{'ns':>12}")
    for case in CASES:
        print(f"{case.name:<26}{len(case.frame):>10,}{measure(case):>12,.0f}")


if __name__ == "__main__":
    main()
