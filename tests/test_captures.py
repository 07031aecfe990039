"""Recorded sessions, served by the simulator and collected over real sockets, arrive as they were.

Every line that an exchange would send to a subscriber is a row, byte for byte and once, but for control
messages: acks, pongs, heartbeats and answers to questions, which carry no market data. Sound
messages of kinds that nobody asked for are rows too, in `unparsed`.
"""

import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_collector import app
from trio_collector.config.settings import Config
from trio_collector.events import DataType, Stream
from trio_collector.simulator import DEFAULT_EXCHANGES, Simulation, Simulator

SHARED = Path(__file__).resolve().parents[2] / "shared" / "captures"

# How a control message looks, by exchange; in the words of the recordings and nothing of ours.
CONTROLS = {
    "binance": (b'{"result":',),
    "coinbase": (b'"channel":"subscriptions"', b'"channel":"heartbeats"'),
    "upbit": (b'{"status":"UP"}',),
    "okx": (b'{"event":', b"pong"),
    "bybit": (b'"op":', b'"ret_msg":'),
}

# One small session of each exchange: data of both types, controls between them, and what no one
# can read. Market data are those of the exchanges' documents, shortened.
OWN = {
    "binance": [
        b'{"result":null,"id":312}',
        b'{"stream":"btcusdt@depth20@100ms","data":{"lastUpdateId":160,"bids":[["0.0024","10"]],'
        b'"asks":[["0.0026","100"]]}}',
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782136,"s":"BTCUSDT","t":12345,'
        b'"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}}',
        b'{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1672515782136,"s":"BTCUSDT"}}',
        b'{"stream":"btcusdt@trade","data":{"e":"trade",',
    ],
    "coinbase": [
        b'{"channel":"subscriptions","client_id":"","timestamp":"2023-02-09T20:33:57.609931463Z",'
        b'"sequence_num":0,"events":[{"subscriptions":{"level2":["BTC-USD"]}}]}',
        b'{"channel":"l2_data","client_id":"","timestamp":"2023-02-09T20:32:50.714964855Z",'
        b'"sequence_num":1,"events":[{"type":"snapshot","product_id":"BTC-USD","updates":[{"side":'
        b'"bid","event_time":"1970-01-01T00:00:00Z","price_level":"21921.73",'
        b'"new_quantity":"0.06317902"}]}]}',
        b'{"channel":"heartbeats","client_id":"","timestamp":"2023-06-23T20:31:26.122969572Z",'
        b'"sequence_num":2,"events":[{"current_time":"2023-06-23 20:31:56.121961769 +0000 UTC",'
        b'"heartbeat_counter":3049}]}',
        b'{"channel":"market_trades","client_id":"","timestamp":"2023-02-09T20:19:35.39625135Z",'
        b'"sequence_num":3,"events":[{"type":"update","trades":[{"trade_id":"7","product_id":'
        b'"BTC-USD","price":"1260.01","size":"0.3","side":"BUY",'
        b'"time":"2019-08-14T20:42:27.265Z"}]}]}',
    ],
    "upbit": [
        b'{"status":"UP"}',
        b'{"ty":"trade","cd":"KRW-BTC","tms":1730336862082,"tp":100473000.00000000,"tv":0.00014208,'
        b'"ab":"BID","ttms":1730336862047,"sid":17303368620470000,"st":"REALTIME"}',
        b'{"ty":"orderbook","cd":"KRW-BTC","tms":1746601573804,"obu":[{"ap":137002000,"bp":137001000,'
        b'"as":0.10623869,"bs":0.03656812}],"st":"SNAPSHOT","note":"\xec\x97\x85\xeb\xb9\x84\xed\x8a\xb8"}',
        b"\xff\xfe",
    ],
    "okx": [
        b'{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"},"connId":"a4d3ae55"}',
        b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":'
        b'[["8476.98","415","0","13"]],"bids":[["8476.97","256","0","12"]],"ts":"1597026383085",'
        b'"checksum":0,"prevSeqId":-1,"seqId":123456}]}',
        b"pong",
        b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":'
        b'"130639474","px":"42219.9","sz":"0.12","side":"buy","ts":"1630048897897","count":"3"}]}',
        b'{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT"}]}',
    ],
    "bybit": [
        b'{"success":true,"ret_msg":"subscribe","conn_id":"2324d924","op":"subscribe"}',
        b'{"topic":"orderbook.50.BTCUSDT","type":"snapshot","ts":1672304484978,"data":{"s":"BTCUSDT",'
        b'"b":[["16493.50","0.006"]],"a":[["16611.00","0.029"]],"u":18521288,"seq":7961638724},'
        b'"cts":1672304484976}',
        b'{"success":true,"ret_msg":"pong","conn_id":"0970e817","op":"ping"}',
        b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":'
        b'1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","i":"20f43950",'
        b'"BT":false}]}',
    ],
}


@pytest.fixture(params=["own", "shared"])
def captures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of recorded sessions: ours, and the larger ones beside the repository."""
    if request.param == "shared":
        if not SHARED.is_dir():
            pytest.skip("the recordings of ../shared/captures are not here")
        return SHARED
    folder = tmp_path / "captures"
    for exchange, lines in OWN.items():
        (folder / exchange).mkdir(parents=True)
        (folder / exchange / "session.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def is_control(exchange: str, line: bytes) -> bool:
    return any(mark in line for mark in CONTROLS[exchange])


@pytest.mark.parametrize("is_tls", [False, True], ids=["ws", "wss"])
async def test_recordings_arrive_whole(
    is_tls: bool,
    captures: Path,
    tmp_path: Path,
    nursery: trio.Nursery,
    start_simulator: Callable[[Simulation], Awaitable[Simulator]],
    config_for: Callable[..., Config],
    received: Callable[[], Counter[Stream]],
    wait_until: Callable[[Callable[[], bool]], Awaitable[None]],
    stored_frames: Callable[[Path], dict[Stream, list[bytes]]],
) -> None:
    """Every recorded line is stored as it was, once and in its stream's order; controls are not."""
    simulator = await start_simulator(Simulation(captures=captures, is_tls=is_tls))
    config = config_for(simulator, websocket={"streams_per_connection": 10})
    trust = ssl.create_default_context(cadata=simulator.ca_pem.decode()) if is_tls else None
    stop, ended = trio.Event(), trio.Event()

    async def collect() -> None:
        await app.collect(config, app.plan(config, {}), stop, ssl_context=trust)
        ended.set()

    nursery.start_soon(collect)
    for exchange in DEFAULT_EXCHANGES:
        lines = recorded_lines(captures, exchange)
        await wait_until(partial(_is_sent, simulator, exchange, lines))
        rows = sum(not is_control(exchange, line) for line in lines)
        await wait_until(partial(_has_rows, received, exchange, rows))
    stop.set()
    await ended.wait()
    stored = stored_frames(tmp_path / "archive")
    for exchange in DEFAULT_EXCHANGES:
        wanted = [
            line for line in recorded_lines(captures, exchange) if not is_control(exchange, line)
        ]
        assert wanted
        streams = [
            frames
            for stream, frames in stored.items()
            if stream.exchange == exchange and stream.data_type is not DataType.STATUS
        ]
        assert Counter(line for frames in streams for line in frames) == Counter(wanted), exchange
        for frames in streams:
            assert is_subsequence(frames, wanted), exchange


# What no exchange sends to a subscriber, and lines that would end or refuse the session.
LEFT_OUT = ("docs_", "errors", "rest_")


def recorded_lines(captures: Path, exchange: str) -> list[bytes]:
    """Return the lines of the sessions of `exchange`, in order."""
    return [
        line
        for path in sorted((captures / exchange).glob("*.jsonl"))
        if not path.name.startswith(LEFT_OUT) and not path.name.endswith(".sent.jsonl")
        for line in path.read_bytes().split(b"\n")
        if line
    ]


def _is_sent(simulator: Simulator, exchange: str, lines: list[bytes]) -> bool:
    return simulator.sent.sent_lines(exchange) == lines


def _has_rows(received: Callable[[], Counter[Stream]], exchange: str, rows: int) -> bool:
    return sum(n for stream, n in received().items() if stream.exchange == exchange) >= rows


def is_subsequence(frames: list[bytes], lines: list[bytes]) -> bool:
    """Return whether `frames` are among `lines` in this order."""
    rest = iter(lines)
    return all(frame in rest for frame in frames)
