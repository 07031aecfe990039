"""Hostile clients: whatever they send, or do not, others are answered and collection goes on.

The ticker stands for collection: a task of the same loop that wants to run every 5 ms.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import pytest
import trio

from trio_collector.config.settings import CollectorSection, StorageSection
from trio_collector.endpoint import http_connection, server
from trio_collector.endpoint.task import run_endpoint
from trio_collector.telemetry import metrics
from trio_collector.telemetry.live_state import LiveState

Serve = Callable[..., Awaitable[int]]
Get = Callable[..., Awaitable[tuple[int, bytes]]]
Ask = Callable[..., Awaitable[bytes]]

# What would hold the loop up is a client's patience, and so seconds. A machine that is busy with
# other things holds up everybody, for which a second ticker stands, in a thread of its own.
HELD_UP_S = 1.0
PATIENCE_S = 30.0
NEVER_S = 3600  # longer than any test's patience

HOST = b"Host: localhost\r\n"
UPGRADE = (
    b"GET /live HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HOSTILE = {
    "nothing": b"",
    "empty lines": b"\r\n\r\n\r\n",
    "no method": b"/metrics HTTP/1.1\r\n\r\n",
    "bad method": b"G<T / HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": b"GET /live HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /live HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "bad version": b"GET /live HTTP/9.9\r\n" + HOST + b"\r\n",
    "no version": b"GET /live\r\n\r\n",
    "huge header": b"GET /live HTTP/1.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    "many headers": b"GET /live HTTP/1.1\r\n" + b"X: a\r\n" * 20_000 + b"\r\n",
    "huge target": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "header without colon": b"GET /live HTTP/1.1\r\n" + HOST + b"garbage\r\n\r\n",
    "folded header": b"GET /live HTTP/1.1\r\n" + HOST + b" folded\r\n\r\n",
    "NUL in target": b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in header": b"GET /live HTTP/1.1\r\nX: \0\r\n\r\n",
    "not ASCII target": "GET /ü HTTP/1.1\r\n".encode() + HOST + b"\r\n",
    "percent": b"GET /%ff%zz% HTTP/1.1\r\n" + HOST + b"\r\n",
    "upgrade": UPGRADE,
    "upgrade with a trailing byte": UPGRADE + b"x",  # hypercorn's issue 225
    "upgrade with frames": UPGRADE + b"\x81\x85\0\0\0\0hello",
    "upgrade without a key": UPGRADE.replace(b"Sec-WebSocket-Key", b"X"),
    "upgrade of a body": UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"),
    "h2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "h2c": b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "h2c with bad settings": b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: !\r\n\r\n",
    "chunked garbage": b"POST /live HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "endless chunk": b"POST /live HTTP/1.1\r\n" + HOST
    + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    "unknown coding": b"GET /live HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n",
    "negative length": b"POST /live HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    "two lengths": b"POST /live HTTP/1.1\r\n" + HOST
    + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "body that never comes": b"POST /live HTTP/1.1\r\n" + HOST + b"Content-Length: 9999999\r\n\r\n",
    "large body": b"GET /live HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 10**6,
    "expects 100": b"POST /live HTTP/1.1\r\n" + HOST
    + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "pipelined": (b"GET /live HTTP/1.1\r\n" + HOST + b"\r\n") * 300,
    "pipelined behind events": b"GET /events HTTP/1.1\r\n" + HOST + b"\r\nGET /live HTTP/1.1\r\n"
    + HOST + b"\r\n",
    "TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(range(200)),
    "half a request": b"GET /metr",
    "only carriage returns": b"\r" * 5_000,
    "noise": bytes(range(256)) * 64,
}  # fmt: skip


class Ticker:
    """A task that wants to run often, and counts how often it may; so does a thread beside it."""

    EVERY_S = 0.005

    def __init__(self) -> None:
        self.ticks = self.thread_ticks = 0
        self.longest_s = self.thread_longest_s = 0.0
        self.ended = threading.Event()

    @property
    def held_up_s(self) -> float:
        """How late the task was at worst, beyond what the machine did to the thread."""
        return self.longest_s - self.thread_longest_s

    async def run(self) -> None:
        while True:
            due = trio.current_time() + self.EVERY_S
            await trio.sleep_until(due)
            self.ticks += 1
            self.longest_s = max(self.longest_s, trio.current_time() - due)

    def run_thread(self) -> None:
        due = time.monotonic() + self.EVERY_S
        while not self.ended.wait(self.EVERY_S):
            now = time.monotonic()
            self.thread_ticks += 1
            self.thread_longest_s = max(self.thread_longest_s, now - due)
            due = now + self.EVERY_S


@pytest.fixture
def ticking() -> Iterator[Ticker]:
    ticker = Ticker()
    thread = threading.Thread(target=ticker.run_thread)
    thread.start()
    yield ticker
    ticker.ended.set()
    thread.join()


@pytest.fixture
def ticker(nursery: trio.Nursery, ticking: Ticker) -> Ticker:
    nursery.start_soon(ticking.run)
    return ticking


def test_there_are_enough() -> None:
    """At least the 24 inputs of the first examination."""
    assert len(HOSTILE) >= 24


@pytest.mark.parametrize("request_", HOSTILE.values(), ids=HOSTILE.keys())
async def test_malformed_requests(
    request_: bytes, serve: Serve, ask: Ask, get: Get, live: LiveState, ticker: Ticker
) -> None:
    """After each, on the same server, the next client is answered and nobody was held up."""
    port = await serve(live)
    await ask(port, request_, 0.3)
    assert await get(port, "/live") == (200, b"alive\n")
    assert ticker.held_up_s < HELD_UP_S


async def test_all_at_once(
    serve: Serve, ask: Ask, get: Get, live: LiveState, ticker: Ticker
) -> None:
    """All of them together, three times over, leave the ticker its turns."""
    port = await serve(live)
    before, thread_before = ticker.ticks, ticker.thread_ticks
    async with trio.open_nursery() as nursery:
        for request in list(HOSTILE.values()) * 3:
            nursery.start_soon(ask, port, request, 2.0)
    assert await get(port, "/live") == (200, b"alive\n")
    assert ticker.ticks - before > (ticker.thread_ticks - thread_before) / 2


async def test_viewers_stay_when_others_misbehave(serve: Serve, ask: Ask, live: LiveState) -> None:
    """An error ends the connection that it is in: a viewer's events go on."""
    port = await serve(live)
    before = metrics.total(metrics.endpoint_client_errors)
    async with await trio.open_tcp_stream("127.0.0.1", port) as viewer:
        await viewer.send_all(b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
        for name in ("upgrade with a trailing byte", "h2 preface", "h2c"):
            await ask(port, HOSTILE[name], 0.5)
        with trio.fail_after(10):
            received = b""
            while received.count(b"\ndata: ") < 2:
                part = await viewer.receive_some()
                assert part, "the viewer was hung up on"
                received += part
    assert metrics.total(metrics.endpoint_client_errors) > before


async def test_http2_is_not_spoken(serve: Serve, ask: Ask, live: LiveState) -> None:
    """The preface of HTTP/2 is answered with a close and nothing else."""
    assert await ask(await serve(live), HOSTILE["h2 preface"], 2.0) == b""


async def test_websockets_are_refused(serve: Serve, ask: Ask, live: LiveState) -> None:
    """There is no WebSocket here."""
    assert (await ask(await serve(live), UPGRADE, 2.0)).startswith(b"HTTP/1.1 403 ")


async def test_slow_headers(
    serve: Serve, get: Get, live: LiveState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sends a header byte by byte is hung up on after IDLE_S, however lively."""
    monkeypatch.setattr(server, "IDLE_S", 1)
    port = await serve(live)
    started = trio.current_time()
    async with await trio.open_tcp_stream("127.0.0.1", port) as slow:
        await slow.send_all(b"GET /live HTTP/1.1\r\nX: ")
        with contextlib.suppress(trio.BrokenResourceError), trio.fail_after(PATIENCE_S):
            while True:  # for ever, if each byte bought another second
                await slow.send_all(b"x")
                with trio.move_on_after(0.2):
                    if not await slow.receive_some():
                        break
    assert trio.current_time() - started > 0.9
    assert (await get(port, "/live"))[0] == 200


async def test_idle_connections(
    serve: Serve, get: Get, live: LiveState, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While 500 clients say nothing the next is answered at once; the oldest silent ones leave."""
    monkeypatch.setattr(server, "IDLE_S", NEVER_S)  # they leave for being many, not for the time
    port = await serve(live)
    async with contextlib.AsyncExitStack() as stack:
        idle = []
        for _ in range(500):
            silent = await trio.open_tcp_stream("127.0.0.1", port)
            await stack.enter_async_context(silent)
            idle.append(silent)
        with trio.fail_after(PATIENCE_S):
            assert (await get(port, "/live"))[0] == 200
        with trio.fail_after(PATIENCE_S), contextlib.suppress(trio.BrokenResourceError):
            assert await idle[0].receive_some() == b""
    assert ticker.held_up_s < HELD_UP_S


def stuck_client(port: int) -> socket.socket:
    """Return a client that has asked for a lot, and reads none of it."""
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect(("127.0.0.1", port))
    stuck.sendall((b"GET /api/status HTTP/1.1\r\n" + HOST + b"\r\n") * 90)
    return stuck


@pytest.fixture
def many_streams(planned: Callable[..., object], live: LiveState) -> LiveState:
    """Vitals that are megabytes in JSON."""
    stream = next(iter(live.streams))
    large = LiveState()
    plan = [planned(stream._replace(symbol=f"coin{number}")) for number in range(2_000)]
    large.start(plan, 0)  # type: ignore[arg-type]  # a fixture's class
    return large


async def test_stuck_reader(
    serve: Serve, get: Get, many_streams: LiveState, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads nothing of a large answer is hung up on; others are answered meanwhile."""
    monkeypatch.setattr(http_connection, "SEND_S", 0.5)
    port = await serve(many_streams)
    with contextlib.closing(stuck_client(port)) as stuck:
        assert (await get(port, "/live"))[0] == 200
        await trio.sleep(1)  # nobody is told when the client's time is over
        stuck.settimeout(5)
        size = 0
        with contextlib.suppress(ConnectionError):
            while part := await trio.to_thread.run_sync(stuck.recv, 2**16):
                size += len(part)
    _status, whole = await get(port, "/api/status")
    assert size < 30 * len(whole)  # of 90 that were asked for
    assert ticker.held_up_s < HELD_UP_S


async def test_nobody_holds_up_the_end(
    storage: StorageSection, many_streams: LiveState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stuck readers, viewers and silent clients, cancelling ends it, and no client's time."""
    monkeypatch.setattr(http_connection, "SEND_S", NEVER_S)
    monkeypatch.setattr(server, "IDLE_S", NEVER_S)
    section = CollectorSection(metrics_port=0)
    async with contextlib.AsyncExitStack() as stack:
        async with trio.open_nursery() as service:
            url = await service.start(partial(run_endpoint, section, storage, many_streams))
            port = int(url.rstrip("/").rsplit(":", 1)[1])
            for _ in range(3):
                stack.enter_context(contextlib.closing(stuck_client(port)))
                viewer = await trio.open_tcp_stream("127.0.0.1", port)
                await stack.enter_async_context(viewer)
                await viewer.send_all(b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
                silent = await trio.open_tcp_stream("127.0.0.1", port)
                await stack.enter_async_context(silent)
            await trio.sleep(1)
            started = trio.current_time()
            service.cancel_scope.cancel()
        assert trio.current_time() - started < PATIENCE_S  # who waits for a client waits for ever
