"""An endpoint over a scripted live state, raw clients for it, and a real browser if there is one."""

import contextlib
import itertools
import json
import math
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_websocket

from tests.support.live import Planned, batch_of
from trio_collector.config.settings import CollectorSection, StorageSection
from trio_collector.endpoint.task import run_endpoint
from trio_collector.events import Batch, DataType, Stream
from trio_collector.ledger import LedgerEvent
from trio_collector.telemetry.live_state import LiveState
from trio_collector.telemetry.status_document import StatusDocument, StorageStatus

PATIENCE_S = 30.0
START_US = 1_700_000_000_000_000
BTC = Stream("binance", "btcusdt", DataType.TRADE)
ETH = Stream("okx", "ethusdt", DataType.ORDERBOOK)


def let_live(live: LiveState, at_us: int = START_US) -> LiveState:
    """Let all of `live` be connected, subscribed and live at `at_us`."""
    for name, connection in live.connections.items():
        live.connected(name, connection.session + 1, at_us)
        for stream in connection.streams:
            live.noted(stream, LedgerEvent.SUBSCRIBED, at_us, {})
            live.noted(stream, LedgerEvent.LIVE, at_us, {})
            live.received(batch_of(stream, 1, at_us))
    return live


@pytest.fixture
def live() -> LiveState:
    """The state of two connections with a stream each, all live."""
    live = LiveState()
    live.start([Planned(BTC), Planned(ETH)], START_US)
    return let_live(live)


@pytest.fixture
def new_batch() -> Callable[..., Batch]:
    return batch_of


@pytest.fixture
def planned() -> type[Planned]:
    return Planned


@pytest.fixture
def make_live() -> Callable[..., LiveState]:
    return let_live


@pytest.fixture
def healthy() -> StatusDocument:
    """A status document that nothing is wrong with."""
    return StatusDocument(
        version="1", now_us=START_US, uptime_s=3600.0, storage=StorageStatus("local")
    )


@pytest.fixture
def storage(tmp_path: Path) -> StorageSection:
    return StorageSection(mode="local", data_dir=str(tmp_path / "spool"))


@pytest.fixture
def serve(nursery: trio.Nursery, storage: StorageSection) -> Callable[..., Awaitable[int]]:
    """Serve a live state on a free port until the test ends; return the port."""

    async def start(live: LiveState, **options: Any) -> int:
        section = CollectorSection(metrics_port=0)
        run = partial(run_endpoint, section, storage, live, **options)
        url = await nursery.start(run)
        assert isinstance(url, str)
        return int(url.rstrip("/").rsplit(":", 1)[1])

    return start


@pytest.fixture
def ask() -> Callable[..., Awaitable[bytes]]:
    """Send raw bytes to a port of this machine; return all that comes back until it closes."""

    async def exchange(port: int, request: bytes, patience_s: float = PATIENCE_S) -> bytes:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        reply = bytearray()
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError), trio.move_on_after(patience_s):
                await stream.send_all(request)
                async for part in stream:
                    reply += part
        return bytes(reply)

    return exchange


@pytest.fixture
def get(ask: Callable[..., Awaitable[bytes]]) -> Callable[..., Awaitable[tuple[int, bytes]]]:
    """Get a path from a port; return status and body."""

    async def fetch(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        reply = await ask(port, head.encode())
        start, _, body = reply.partition(b"\r\n\r\n")
        return int(start.split(b" ", 2)[1]), body

    return fetch


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Tab:
    """A page in a headless browser: as much of the DevTools protocol as the tests need."""

    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._connection = connection
        self._numbers = itertools.count(1)
        self._results: dict[int, Any] = {}
        self._changed = trio.Condition()
        self._loaded = trio.Event()

    async def listen(self) -> None:
        """Record all that the browser reports, until it is gone."""
        with contextlib.suppress(trio_websocket.ConnectionClosed):
            while True:
                message = json.loads(await self._connection.get_message())
                self._record(message)
                async with self._changed:
                    self._changed.notify_all()

    def _record(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case None:
                self._results[message["id"]] = message
            case "Page.loadEventFired":
                self._loaded.set()
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(json.dumps(params["entry"]))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        number = next(self._numbers)
        await self._connection.send_message(
            json.dumps({"id": number, "method": method, "params": params})
        )
        async with self._changed:
            while number not in self._results:
                await self._changed.wait()
        message = self._results.pop(number)
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    async def open(self, url: str, width: int = 1280, height: int = 1000, **media: str) -> None:
        """Go to `url` in a window of this size; `media` are features such as a colour scheme."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")
        await self.resize(width, height, **media)
        self._loaded = trio.Event()
        await self.call("Page.navigate", url=url)
        with trio.fail_after(PATIENCE_S):
            await self._loaded.wait()

    async def resize(self, width: int, height: int, **media: str) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if width < 600 else 1,
            mobile=width < 600,
        )
        features = [
            {"name": name.replace("_", "-"), "value": value} for name, value in media.items()
        ]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def evaluate(self, script: str) -> Any:
        """Return what `script` evaluates to."""
        result = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def wait_for(self, script: str) -> Any:
        """Wait until `script` returns something true; return it."""
        with trio.fail_after(PATIENCE_S):
            while not (value := await self.evaluate(script)):  # noqa: ASYNC110 - a script sends no event
                await trio.sleep(0.1)
        return value

    async def text_of(self, selector: str) -> str:
        text = await self.evaluate(f"document.querySelector({selector!r}).textContent")
        assert isinstance(text, str)
        return text


@contextlib.contextmanager
def chromium_process(profile: Path) -> Iterator[None]:
    """Run a browser without a window until the block ends."""
    assert CHROMIUM
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",  # tests may run as root, and the page is ours
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    environment = {**os.environ, "HOME": str(profile)}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.asynccontextmanager
async def open_tab(profile: Path) -> AsyncIterator[Tab]:
    """Open a browser with one tab."""
    with chromium_process(profile):
        port_file = profile / "DevToolsActivePort"
        with trio.fail_after(PATIENCE_S):
            while not _is_written(port_file):  # noqa: ASYNC110 - another process writes it
                await trio.sleep(0.05)
        port = int(port_file.read_text().split()[0])
        url = f"ws://127.0.0.1:{port}/devtools/page/{await _page_id(port)}"
        async with trio_websocket.open_websocket_url(
            url, max_message_size=2**26, disconnect_timeout=1
        ) as connection:
            tab = Tab(connection)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tab.listen)
                yield tab
                nursery.cancel_scope.cancel()


def _is_written(port_file: Path) -> bool:
    """Return whether the browser has written its port, and its path in the second line."""
    return port_file.exists() and len(port_file.read_text().split()) == 2


async def _page_id(port: int) -> str:
    """Return the id of the browser's page."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(b"GET /json/list HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reply, size = bytearray(), math.inf
        while len(reply) < size:
            reply += await stream.receive_some()
            head, end, _ = reply.partition(b"\r\n\r\n")
            if end:
                length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
                size = len(head) + 4 + int(length)
    pages = json.loads(reply.partition(b"\r\n\r\n")[2])
    return next(str(page["id"]) for page in pages if page["type"] == "page")


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    """A page in a headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    async with open_tab(tmp_path / "chromium") as opened:
        yield opened
