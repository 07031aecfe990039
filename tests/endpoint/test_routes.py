"""Every route over a real socket: status, kind and content, and what is refused."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from trio_collector.endpoint.page import page_response
from trio_collector.endpoint.routes import MAX_VIEWERS
from trio_collector.events import Batch, DataType, Stream
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.ledger import LedgerEvent
from trio_collector.telemetry import metrics
from trio_collector.telemetry.live_state import LiveState
from trio_collector.telemetry.status_document import SAMPLE_S, StatusDocument

Serve = Callable[..., Awaitable[int]]
Get = Callable[..., Awaitable[tuple[int, bytes]]]
Ask = Callable[..., Awaitable[bytes]]

START_US = 1_700_000_000_000_000

# The Rust collector's names, as DESIGN section 12 keeps them.
KEPT = (
    "websocket_connected",
    "websocket_reconnects_total",
    "last_message_timestamp_seconds",
    "messages_received_total",
    "messages_dropped_total",
    "message_timeouts_total",
    "websocket_pings_sent_total",
    "websocket_pongs_received_total",
    "parquet_rows_written_total",
    "parquet_rows_buffered",
    "parquet_files_rotated_total",
    "parquet_write_errors_total",
    "channel_queue_depth",
    "s3_upload_seconds_count",
    "s3_upload_failures_total",
    "s3_upload_retries_total",
    "upload_queue_depth",
    "parse_circuit_breaks_total",
    "latency_exchange_to_collector_ms_count",
    "start_timestamp_seconds",
)


class Clock:
    """A wall clock that stands still."""

    def __init__(self) -> None:
        self.now_us = START_US + 1_000_000

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_metrics(serve: Serve, get: Get, live: LiveState) -> None:
    """/metrics is Prometheus text in which every kept name is there before anything has happened."""
    stream = Stream("routes", "btcusdt", DataType.TRADE)
    metrics.preset([stream], EndReason)
    status, body = await get(await serve(live), "/metrics")
    assert status == 200
    samples = {
        sample.name: sample
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    assert {f"collector_{name}" for name in KEPT} <= samples.keys()


async def test_health(serve: Serve, get: Get, live: LiveState, clock: Clock) -> None:
    """/health has the verdict and its numbers."""
    live.disk.rows_dropped = 3
    port = await serve(live, now_us=clock)
    status, body = await get(port, "/health")
    answer = json.loads(body)
    assert (status, answer["status"], answer["reasons"]) == (200, "healthy", [])
    assert answer["connections"] == {"up": 2, "total": 2}
    assert answer["uptime_seconds"] == 1.0
    assert answer["messages_dropped"] == 3
    assert answer["streams"][0] == {
        "exchange": "binance",
        "symbol": "btcusdt",
        "data_type": "trade",
        "state": "live",
        "age_seconds": 1.0,
        "gaps": 0,
        "last_gap_seconds": None,
    }


async def test_unhealthy(serve: Serve, get: Get, live: LiveState, clock: Clock) -> None:
    """A collector without a stream that has data is unhealthy: /health and /ready are 503."""
    for stream in live.streams:
        live.noted(stream, LedgerEvent.STALE, clock.now_us, {"limit_s": 10.0})
    port = await serve(live, now_us=clock)
    status, body = await get(port, "/health")
    assert (status, json.loads(body)["status"]) == (503, "unhealthy")
    status, body = await get(port, "/ready")
    answer = json.loads(body)
    assert (status, answer["is_ready"]) == (503, False)
    assert [reason["code"] for reason in answer["reasons"]] == ["all_dead"]


async def test_ready(
    serve: Serve, get: Get, live: LiveState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/ready is 200 while all is subscribed, and 503 with the reason as soon as it drains."""
    monkeypatch.setattr("trio_collector.endpoint.sampler.FRESH_S", 0)
    port = await serve(live, now_us=clock)
    assert await get(port, "/ready") == (200, b'{"is_ready":true,"reasons":[]}\n')
    live.is_draining = True
    status, body = await get(port, "/ready")
    assert (status, json.loads(body)["reasons"][0]["code"]) == (503, "draining")


async def test_starting(serve: Serve, get: Get, clock: Clock, planned: Callable[..., Any]) -> None:
    """Until all streams are subscribed the collector is starting, and not ready."""
    live = LiveState()
    live.start([planned(Stream("okx", "btcusdt", DataType.TRADE))], START_US)
    port = await serve(live, now_us=clock)
    status, body = await get(port, "/health")
    assert (status, json.loads(body)["status"]) == (200, "starting")
    assert (await get(port, "/ready"))[0] == 503


async def test_status(serve: Serve, get: Get, live: LiveState) -> None:
    """/api/status is the status document."""
    status, body = await get(await serve(live), "/api/status")
    document = msgspec.json.decode(body, type=StatusDocument)
    assert status == 200
    assert [stream.name for stream in document.streams] == [
        "binance btcusdt trade",
        "okx ethusdt orderbook",
    ]


@pytest.mark.parametrize("path", ["/", "/metrics", "/health", "/ready", "/live", "/api/status"])
async def test_head(path: str, serve: Serve, get: Get, live: LiveState) -> None:
    """HEAD is GET without its body."""
    port = await serve(live)
    (status, whole), (head_status, nothing) = await get(port, path), await get(port, path, "HEAD")
    assert (head_status, nothing) == (status, b"")
    assert whole


async def test_live(serve: Serve, get: Get) -> None:
    """/live responds as long as the event loop runs."""
    assert await get(await serve(LiveState()), "/live") == (200, b"alive\n")


@pytest.mark.parametrize(
    "path", ["/nothing", "//", "/metrics/", "/../etc/passwd", "/%2e%2e/x", "/page.html"]
)
async def test_unknown_paths(path: str, serve: Serve, get: Get) -> None:
    """There are no other routes."""
    assert (await get(await serve(LiveState()), path))[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "X"])
async def test_other_methods(method: str, serve: Serve, get: Get) -> None:
    """Nothing can be changed here."""
    assert (await get(await serve(LiveState()), "/health", method))[0] == 405


async def test_page_carries_everything(serve: Serve, ask: Ask) -> None:
    """The page loads nothing from elsewhere, and allows its own script and style alone."""
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    reply = (await ask(await serve(LiveState()), request)).decode()
    head, _, page = reply.partition("\r\n\r\n")
    assert "content-security-policy: default-src 'none'; style-src 'sha256-" in head
    assert "x-content-type-options: nosniff" in head
    assert "cache-control: no-store" in head
    without_names = page.replace("http://www.w3.org/2000/svg", "")
    assert "http://" not in without_names
    assert "https://" not in without_names
    assert page_response().body.decode() == page


async def open_events(port: int) -> trio.SocketStream:
    """Return a connection on which the events have been requested."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return stream


async def read_events(stream: trio.SocketStream, count: int) -> list[StatusDocument]:
    """Return the first events."""
    received = b""
    with trio.fail_after(30):
        while received.count(b"\ndata: ") < count or not received.endswith(b"\n\n\r\n"):
            received += await stream.receive_some()
    lines = [line for line in received.split(b"\n") if line.startswith(b"data: ")]
    return [
        msgspec.json.decode(line.removeprefix(b"data: "), type=StatusDocument) for line in lines
    ]


async def test_events(serve: Serve, live: LiveState, new_batch: Callable[..., Batch]) -> None:
    """Events begin with the whole history; each later one brings one sample more."""
    port = await serve(live)
    stream = next(iter(live.streams))
    async with await open_events(port) as client:
        (first,) = await read_events(client, 1)
        live.received(new_batch(stream, 40, START_US))
        second, third = await read_events(client, 2)
    assert first.history == ()
    assert (len(second.history), len(third.history)) == (1, 1)
    assert second.streams[0].rows == 41
    assert second.history[0] == pytest.approx(42 / SAMPLE_S, rel=0.2)
    assert third.history == (0.0,)


async def test_viewers_are_few(serve: Serve, get: Get, live: LiveState) -> None:
    """A viewer too many gets 503, and a viewer that leaves makes room."""
    port = await serve(live)
    viewers = [await open_events(port) for _ in range(MAX_VIEWERS)]
    for viewer in viewers:
        await read_events(viewer, 1)
    assert (await get(port, "/events"))[0] == 503
    assert (await get(port, "/live"))[0] == 200
    await viewers.pop().aclose()
    with trio.fail_after(10):
        async with await open_events(port) as late:
            await read_events(late, 1)
    for viewer in viewers:
        await viewer.aclose()
