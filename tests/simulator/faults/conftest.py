"""A client that sees what is on the wire: TCP or TLS, a handshake by hand, and wsproto."""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from trio_collector.simulator import EXCHANGES, Fault, FaultScript, Simulation, Simulator

FAST = Simulation(tick_s=0.005, books_per_s=1_000, trades_per_s=500, is_recording=True)
PATHS = {
    "binance": "/binance/stream",
    "coinbase": "/coinbase",
    "upbit": "/upbit/websocket/v1",
    "okx": "/okx/ws/v5/public",
    "bybit": "/bybit/v5/public/spot",
}
REQUESTS: dict[str, list[Any]] = {
    "binance": [
        {"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms", "btcusdt@trade"], "id": 1}
    ],
    "coinbase": [
        {"type": "subscribe", "channel": channel, "product_ids": ["BTC-USD"]}
        for channel in ("level2", "market_trades")
    ],
    "upbit": [
        [
            {"ticket": "t"},
            {"type": "orderbook", "codes": ["KRW-BTC"]},
            {"type": "trade", "codes": ["KRW-BTC"]},
            {"format": "SIMPLE"},
        ]
    ],
    "okx": [
        {
            "op": "subscribe",
            "args": [{"channel": channel, "instId": "BTC-USDT"} for channel in ("books", "trades")],
        }
    ],
    "bybit": [{"op": "subscribe", "args": ["orderbook.50.BTCUSDT", "publicTrade.BTCUSDT"]}],
}
_CONTROL_MARKS = (b'"result"', b'"subscriptions"', b'"event":"', b'"success"', b'"error"')


class Client:
    """A WebSocket client on `stream` that answers pings and keeps what came."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.response = b""  # the head of the answer to the handshake
        self.received = b""  # all bytes after it
        self.pings: list[bytes] = []
        self.controls: list[bytes] = []  # messages that are no data
        self.data: list[bytes] = []
        self.ending = ""
        self.websocket = Connection(ConnectionType.CLIENT)
        self._part = b""

    async def shake_hands(self, path: str) -> bytes:
        """Ask for a WebSocket at `path`; return the head of the answer, as far as one came."""
        await self.stream.send_all(
            (
                f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ).encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = await self._receive()
            if not part:
                self.response = answer
                return answer
            answer += part
        self.response, _, rest = answer.partition(b"\r\n\r\n")
        self._take(rest)
        return self.response

    async def say(self, request: Any) -> None:
        """Send a text message: as it is, or as JSON."""
        text = request if isinstance(request, str) else json.dumps(request)
        await self.stream.send_all(self.websocket.send(TextMessage(data=text)))

    async def subscribe(self, exchange: str) -> None:
        """Ask for books and trades of one symbol."""
        for request in REQUESTS[exchange]:
            await self.say(request)

    async def hear(self, count: int) -> list[bytes]:
        """Return the first `count` data messages; fewer, if the connection ends."""
        while len(self.data) < count and not self.ending:
            await self._listen()
        return self.data[:count]

    async def hear_to_the_end(self) -> str:
        """Return how the connection ends."""
        while not self.ending:
            await self._listen()
        return self.ending

    async def wait(self, condition: Callable[["Client"], object]) -> None:
        """Listen until `condition` holds, or to the end."""
        while not condition(self) and not self.ending:
            await self._listen()

    async def _listen(self) -> None:
        part = await self._receive()
        if part:
            self._take(part)
            while self.pings and not self.ending:
                pong = self.websocket.send(Ping(self.pings.pop(0)).response())
                with contextlib.suppress(trio.BrokenResourceError):
                    await self.stream.send_all(pong)

    async def _receive(self) -> bytes:
        """Return what comes; nothing at the end, of which `ending` tells."""
        try:
            part = bytes(await self.stream.receive_some(65_536))
        except trio.BrokenResourceError as exc:
            self.ending = self.ending or f"broken: {type(exc.__cause__).__name__}"
            return b""
        if not part:
            self.ending = self.ending or "fin"
        return part

    def _take(self, part: bytes) -> None:
        self.received += part
        self.websocket.receive_data(part)
        for event in self.websocket.events():
            self._hear_event(event)

    def _hear_event(self, event: Event) -> None:
        if isinstance(event, Ping):
            self.pings.append(bytes(event.payload))
        elif isinstance(event, CloseConnection):
            self.ending = self.ending or f"close {int(event.code)} {event.reason or ''}".strip()
        elif isinstance(event, TextMessage | BytesMessage):
            data = event.data
            self._part += data.encode() if isinstance(data, str) else bytes(data)
            if event.message_finished:
                is_control = any(mark in self._part[:60] for mark in _CONTROL_MARKS)
                is_control = is_control or self._part in (b"pong", b'{"status":"UP"}')
                (self.controls if is_control else self.data).append(self._part)
                self._part = b""


Connect = Callable[[Simulator, str], Awaitable[Client]]


@pytest.fixture
def with_faults(
    start: Callable[[Simulation], Awaitable[Simulator]],
) -> Callable[..., Awaitable[Simulator]]:
    """Start a fast simulator with these faults; keywords are its other settings."""

    async def with_faults(*faults: Fault, **settings: Any) -> Simulator:
        script = FaultScript(faults=faults)
        return await start(replace(FAST, faults=script, **settings))

    return with_faults


@pytest.fixture
async def clients() -> AsyncIterator[contextlib.AsyncExitStack]:
    """Close what clients have open at the end of the test."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def dial(clients: contextlib.AsyncExitStack) -> Connect:
    """Connect to an exchange by TCP, and by TLS where the simulator has it; nothing is said yet."""

    async def dial(simulator: Simulator, exchange: str) -> Client:
        url = simulator.base_url(exchange)
        port = int(url.split(":")[2].split("/")[0])
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", port)
        if simulator.ca_pem:
            context = ssl.create_default_context(cadata=simulator.ca_pem.decode())
            stream = trio.SSLStream(stream, context, server_hostname="127.0.0.1")
        clients.push_async_callback(trio.aclose_forcefully, stream)
        return Client(stream)

    return dial


@pytest.fixture
def connect(dial: Connect) -> Connect:
    """Have a WebSocket to an exchange and subscribe to books and trades of one symbol."""

    async def connect(simulator: Simulator, exchange: str) -> Client:
        client = await dial(simulator, exchange)
        response = await client.shake_hands(PATHS[exchange])
        assert response.startswith(b"HTTP/1.1 101 "), response
        await client.subscribe(exchange)
        return client

    return connect


@pytest.fixture(params=EXCHANGES)
def exchange(request: pytest.FixtureRequest) -> str:
    """Each of the five exchanges."""
    return str(request.param)
