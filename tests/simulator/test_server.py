"""The simulator over real sockets; nothing waits but for bytes to come."""

import contextlib
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from msgspec.structs import replace
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from trio_collector.simulator import EXCHANGES, Simulation, Simulator, run_simulator
from trio_collector.simulator.markets.recorded import read_lines
from trio_collector.simulator.net.frames import StreamKey, plain_symbol

Start = Callable[[Simulation], Awaitable[Simulator]]

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
FAST = Simulation(tick_s=0.005, books_per_s=1_000, trades_per_s=500, is_recording=True)

# For each exchange: the path that an adapter appends, and a subscription of both data types.
CLIENTS: dict[str, tuple[str, list[Any]]] = {
    "binance": (
        "/stream",
        [{"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms", "btcusdt@trade"], "id": 1}],
    ),
    "coinbase": (
        "",
        [
            {"type": "subscribe", "channel": channel, "product_ids": ["BTC-USD"]}
            for channel in ("level2", "market_trades")
        ],
    ),
    "upbit": (
        "/websocket/v1",
        [
            [
                {"ticket": "t"},
                {"type": "orderbook", "codes": ["KRW-BTC"]},
                {"type": "trade", "codes": ["KRW-BTC"]},
            ]
        ],
    ),
    "okx": (
        "/ws/v5/public",
        [
            {
                "op": "subscribe",
                "args": [
                    {"channel": channel, "instId": "BTC-USDT"} for channel in ("books", "trades")
                ],
            }
        ],
    ),
    "bybit": (
        "/v5/public/spot",
        [{"op": "subscribe", "args": ["orderbook.50.BTCUSDT", "publicTrade.BTCUSDT"]}],
    ),
}
ABNORMAL_CLOSURE = 1006  # RFC 6455, 7.4.1: no close frame came
CONTROL_MARKS = (b'"result"', b'"subscriptions"', b'"event"', b'"success"')


def trust(simulator: Simulator) -> ssl.SSLContext | None:
    if not simulator.ca_pem:
        return None
    return ssl.create_default_context(cadata=simulator.ca_pem.decode())


@contextlib.asynccontextmanager
async def open_client(
    simulator: Simulator, exchange: str, *requests: Any
) -> AsyncIterator[WebSocketConnection]:
    """Connect to `exchange` and subscribe, to both data types of one symbol if nothing is said."""
    path, usual = CLIENTS[exchange]
    url = simulator.base_url(exchange) + path
    async with open_websocket_url(url, ssl_context=trust(simulator)) as client:
        try:
            for request in requests or usual:
                await client.send_message(json.dumps(request))
            yield client
        finally:
            # trio-websocket leaves the socket open when the other side has reset it.
            if client.closed and client.closed.code == ABNORMAL_CLOSURE:
                await trio.aclose_forcefully(client._stream)


async def receive(client: WebSocketConnection) -> bytes:
    message = await client.get_message()
    return message if isinstance(message, bytes) else message.encode()


async def receive_data(client: WebSocketConnection, count: int) -> list[bytes]:
    """Return the next `count` messages that are not about the subscription."""
    messages: list[bytes] = []
    while len(messages) < count:
        message = await receive(client)
        if not any(mark in message[:40] for mark in CONTROL_MARKS):
            messages.append(message)
    return messages


def recorded(simulator: Simulator) -> list[bytes]:
    return [payload for payloads in simulator.sent.frames.values() for payload in payloads]


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_the_record_is_what_a_client_received(
    start: Start, exchange: str, is_tls: bool
) -> None:
    """After a pause everything sent is recorded, and a client gets just that, byte for byte."""
    simulator = await start(replace(FAST, is_tls=is_tls))
    async with open_client(simulator, exchange) as client:
        received = await receive_data(client, 100)
        simulator.pause()
        await simulator.wait_sent()
        sent = recorded(simulator)
        received += await receive_data(client, len(sent) - len(received))
    assert sorted(received) == sorted(sent)
    (orderbook, trade) = sorted(simulator.sent.frames)
    assert [orderbook.exchange, orderbook.data_type, trade.data_type] == [
        exchange,
        "orderbook",
        "trade",
    ]
    for stream, payloads in simulator.sent.frames.items():
        assert simulator.sent.counts[stream] == len(payloads)
        assert [message for message in received if message in set(payloads)] == payloads


async def test_connections_share_markets_and_go_on_after_a_pause(start: Start) -> None:
    """Two clients of an exchange see the same books; resuming leaves no gap in the ids."""
    simulator = await start(FAST)
    async with open_client(simulator, "okx") as first, open_client(simulator, "okx") as second:
        before = await receive_data(first, 20)
        simulator.pause()
        await simulator.wait_sent()
        simulator.resume()
        after = await receive_data(first, 50)
        other = await receive_data(second, 20)
    books = [json.loads(message) for message in before + after if b'"books"' in message]
    ids = [(book["data"][0]["prevSeqId"], book["data"][0]["seqId"]) for book in books]
    assert all(earlier[1] == later[0] for earlier, later in itertools.pairwise(ids))
    assert set(other) & set(before + after)


async def test_paused_markets_keep_their_connections(start: Start) -> None:
    """While paused nothing is generated, and requests are still answered."""
    simulator = await start(FAST)
    async with open_client(simulator, "okx") as client:
        await receive_data(client, 10)
        simulator.pause()
        await simulator.wait_sent()
        count = sum(simulator.sent.counts.values())
        await client.send_message("ping")
        while await receive(client) != b"pong":
            pass
        assert sum(simulator.sent.counts.values()) == count


@pytest.mark.parametrize("is_tls", [False, True])
async def test_rest_answers_beside_the_sockets(start: Start, is_tls: bool) -> None:
    """Depth, true book and counts come over the same port."""
    simulator = await start(Simulation(is_tls=is_tls))
    base = simulator.base_url("binance").replace("ws", "http", 1)
    verify = trust(simulator) or True
    async with httpx.AsyncClient(verify=verify) as client:
        depth = await client.get(f"{base}/api/v3/depth", params={"symbol": "BTCUSDT", "limit": 5})
        book = await client.get(base.replace("binance", "simulator/book/upbit/KRW-BTC"))
        sent = await client.get(base.replace("binance", "simulator/sent"))
        missing = await client.get(f"{base}/stream")
        refused = await client.post(base)
    assert len(depth.json()["bids"]) == 5
    assert len(book.json()["asks"]) == 50
    assert sent.json() == {"streams": [], "control": {}, "fates": []}
    assert [missing.status_code, refused.status_code] == [404, 405]


async def test_record_path_holds_what_was_sent(start: Start, tmp_path: Path) -> None:
    """A test with the simulator elsewhere can read what it sent from a file."""
    path = tmp_path / "sent.tsv"
    simulator = await start(replace(FAST, record_path=path))
    async with open_client(simulator, "bybit") as client:
        await receive_data(client, 50)
        simulator.pause()
        await simulator.wait_sent()
    lines = [line.split(b"\t") for line in path.read_bytes().splitlines()]
    for stream, payloads in simulator.sent.frames.items():
        names = [name.encode() for name in stream]
        assert [line[3] for line in lines if line[:3] == names] == payloads
    assert len(lines) == len(recorded(simulator))


@pytest.mark.skipif(not CAPTURES.exists(), reason="needs ../shared/captures beside the repository")
@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_captures_arrive_complete_and_byte_exact(
    start: Start, exchange: str, is_tls: bool
) -> None:
    """Every recorded line reaches the first subscriber, in order and unchanged."""
    simulator = await start(Simulation(is_tls=is_tls, tick_s=0.005, captures=CAPTURES))
    lines = read_lines(CAPTURES, exchange)
    messages: list[bytes] = []
    async with open_client(simulator, exchange) as client:
        while messages[-len(lines) :] != lines:
            messages.append(await receive(client))
        await simulator.wait_sent()
    acks = messages[: -len(lines)]
    assert len(acks) <= 2
    assert all(any(mark in ack for mark in CONTROL_MARKS) for ack in acks)
    assert simulator.sent.sent_lines(exchange) == lines


async def test_a_slow_reader_stops_nobody_else(start: Start) -> None:
    """A client that does not read is cut off; another one goes on undisturbed.

    The lively one has few short messages: where the machine stands still for a while, it would take
    minutes until as much waits for it as cuts the silent one off.
    """
    simulator = await start(replace(FAST, trades_per_s=50, max_queue_bytes=1_000_000))
    trades = [{"ticket": "t"}, {"type": "trade", "codes": ["KRW-BTC"]}]
    books = [{"ticket": "t"}, {"type": "orderbook", "codes": ["KRW-BTC", "KRW-ETH"]}]
    async with open_client(simulator, "upbit", trades) as lively:
        silent = await trio.open_tcp_stream("127.0.0.1", simulator.port)
        async with silent:
            await silent.send_all(upgrade("/upbit/websocket/v1") + masked(books))
            while len(simulator.sent.connections) < 2:
                await receive_data(lively, 1)
            while len(simulator.connections) == 2:
                await receive_data(lively, 1)
        await receive_data(lively, 10)
    assert simulator.sent.counts[StreamKey("upbit", "krwbtc", "orderbook")] > 0


def upgrade(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def masked(request: Any) -> bytes:
    """Return a client's text frame; a mask of zeros leaves the payload readable."""
    payload = json.dumps(request).encode()
    assert 125 < len(payload) < 65_536 or len(payload) <= 125
    length = (
        bytes((0x80 | len(payload),))
        if len(payload) <= 125
        else b"\xfe" + len(payload).to_bytes(2, "big")
    )
    return b"\x81" + length + bytes(4) + payload


async def test_a_client_that_is_cut_off_closes_its_socket(start: Start) -> None:
    """Where a test fails because its client was cut off, no later one fails for a socket left open."""
    simulator = await start(replace(FAST, max_queue_bytes=100))
    with pytest.raises(ConnectionClosed):
        async with open_client(simulator, "upbit") as client:
            await receive_data(client, 1_000)
    assert isinstance(client._stream, trio.SocketStream)
    assert client._stream.socket.fileno() == -1


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00\xff" * 500,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        upgrade("/nowhere"),
        upgrade("/okx/ws/v5/public").replace(b"1.1", b"1.0"),
        upgrade("/okx/ws/v5/public").replace(b"Host", b"Content-Length: 3\r\nHost") + b"abc",
        upgrade("/okx/ws/v5/public").replace(b"dGhlIHNhbXBsZSBub25jZQ==", b""),
        upgrade("/okx/ws/v5/public") + b"\xff" * 100,
        upgrade("/okx/ws/v5/public") + b"\x81\x02{}",  # not masked
        upgrade("/okx/ws/v5/public") + b"\x81\x82\x00\x00\x00\x00\xff\xff",  # not UTF-8
        upgrade("/okx/ws/v5/public") + b"\x88\x81\x00\x00\x00\x00\x01",  # a close code of one byte
        upgrade("/okx/ws/v5/public") + b"\x88\x80\x00\x00\x00\x00",  # a close frame without a code
        upgrade("/okx/ws/v5/public") + b"\x81\xff" + (2**40).to_bytes(8, "big") + bytes(2_000_000),
        upgrade("/okx/ws/v5/public") + b"\x81\xfe\x00",
    ],
)
async def test_malformed_input_ends_one_connection(start: Start, garbage: bytes) -> None:
    """Whatever bytes a client sends before it leaves, the next one is served."""
    simulator = await start(FAST)
    async with await trio.open_tcp_stream("127.0.0.1", simulator.port) as stream:
        with contextlib.suppress(trio.BrokenResourceError):  # the simulator may have left first
            await stream.send_all(garbage)
            await stream.send_eof()
            while await stream.receive_some():
                pass
    async with open_client(simulator, "okx") as client:
        await receive_data(client, 1)


async def test_garbage_instead_of_tls_ends_one_connection(start: Start) -> None:
    """Plain text on the encrypted port is survived too."""
    simulator = await start(replace(FAST, is_tls=True))
    async with await trio.open_tcp_stream("127.0.0.1", simulator.port) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
            while await stream.receive_some():
                pass
    async with open_client(simulator, "okx") as client:
        await receive_data(client, 1)


async def test_clients_may_close_ping_and_fragment(start: Start) -> None:
    """Pings are answered, fragments put together, a close frame answered with its code."""
    simulator = await start(Simulation())
    async with await trio.open_tcp_stream("127.0.0.1", simulator.port) as stream:
        await stream.send_all(
            upgrade("/okx/ws/v5/public")
            + b"\x89\x81\x00\x00\x00\x00!"  # ping
            + b"\x01\x82\x00\x00\x00\x00pi\x80\x82\x00\x00\x00\x00ng"  # "ping" in two fragments
            + b"\x88\x82\x00\x00\x00\x00\x03\xe9"  # close 1001
        )
        received = b"".join([bytes(part) async for part in stream])
    assert received.endswith(b"\r\n\r\n\x8a\x01!\x81\x04pong\x88\x02\x03\xe9")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in received  # RFC 6455, 1.3


async def test_a_message_without_end_is_refused(start: Start) -> None:
    """More than a megabyte from a client is answered with 1009, which the client can read."""
    simulator = await start(Simulation())
    async with await trio.open_tcp_stream("127.0.0.1", simulator.port) as stream:
        await stream.send_all(upgrade("/okx/ws/v5/public"))
        await stream.send_all(b"\x01\xff" + (1_100_000).to_bytes(8, "big") + bytes(4 + 1_100_000))
        await stream.send_eof()
        received = b"".join([bytes(part) async for part in stream])
    assert received.endswith(b"\x88\x02" + (1009).to_bytes(2, "big"))


async def test_an_exchange_that_is_not_simulated_is_not_there(start: Start) -> None:
    """Only the exchanges of the settings can be connected to."""
    simulator = await start(Simulation(exchanges={"okx": ("BTC-USDT",)}))
    async with await trio.open_tcp_stream("127.0.0.1", simulator.port) as stream:
        await stream.send_all(upgrade("/coinbase"))
        received = b"".join([bytes(part) async for part in stream])
    assert received.startswith(b"HTTP/1.1 404")


def test_an_unknown_exchange_is_refused() -> None:
    """Settings that name another exchange are wrong."""
    with pytest.raises(ValueError, match="kraken"):
        Simulation(exchanges={"kraken": ("BTC/USD",)})


async def test_a_port_can_be_chosen_and_is_free_afterwards(nursery: trio.Nursery) -> None:
    """A stopped simulator leaves its port to the next one."""
    ports: list[int] = []
    scope = trio.CancelScope()

    def when_ready(simulator: Simulator) -> None:
        ports.append(simulator.port)
        scope.cancel()

    with scope:
        await run_simulator(Simulation(), when_ready)
    scope = trio.CancelScope()
    with scope:
        await run_simulator(Simulation(port=ports[0]), when_ready)
    assert ports[0] == ports[1]


@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_simulator_describes_itself(start: Start, is_tls: bool) -> None:
    """Port, base URLs and certificate go as JSON to a test in another process."""
    simulator = await start(Simulation(is_tls=is_tls))
    told = json.loads(json.dumps(simulator.describe()))
    scheme = "wss" if is_tls else "ws"
    assert told["base_urls"]["okx"] == f"{scheme}://127.0.0.1:{told['port']}/okx"
    assert set(told["base_urls"]) == set(EXCHANGES)
    assert told["ca_pem"].startswith("-----BEGIN CERTIFICATE-----") == is_tls


def test_symbols_of_the_default_exchanges_are_plain_pairs() -> None:
    """The record's keys are the names under which the collector keeps rows."""
    symbols = {plain_symbol(name) for names in Simulation().exchanges.values() for name in names}
    assert symbols == {"btcusdt", "ethusdt", "btcusd", "ethusd", "krwbtc", "krweth"}
