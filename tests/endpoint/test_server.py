"""The server: it reports its address, tries again for ever, and ends nothing but itself."""

import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from trio_collector.budget import ByteBudget
from trio_collector.config.settings import CollectorSection, StorageSection
from trio_collector.endpoint.history import History
from trio_collector.endpoint.routes import Routes
from trio_collector.endpoint.sampler import StatusSampler
from trio_collector.endpoint.server import Server
from trio_collector.endpoint.status_builder import Sources
from trio_collector.endpoint.task import run_endpoint
from trio_collector.ledger import LedgerEvent
from trio_collector.telemetry.live_state import LiveState
from trio_collector.telemetry.status_document import SAMPLE_S

Get = Callable[..., Awaitable[tuple[int, bytes]]]


def sources_of(live: LiveState, storage: StorageSection) -> Sources:
    return Sources(live, History(), ByteBudget(storage.max_inflight_bytes), storage)


@pytest.fixture
def new_server(storage: StorageSection) -> Callable[[CollectorSection], Server]:
    def make(section: CollectorSection) -> Server:
        sampler = StatusSampler(sources_of(LiveState(), storage), lambda: 0)
        return Server(section, Routes(sampler))

    return make


async def test_a_taken_port(storage: StorageSection, nursery: trio.Nursery, get: Get) -> None:
    """A port that is taken is logged as an error once, and opened as soon as it is free."""
    taken = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = taken[0].socket.getsockname()[1]
    live = LiveState()
    with capture_logs() as logs:
        url = await nursery.start(
            partial(run_endpoint, CollectorSection(metrics_port=port), storage, live)
        )
        assert url is None
        assert live.url is None
        for listener in taken:
            await listener.aclose()
        with trio.fail_after(30):
            while await _status_of(get, port) != 200:  # noqa: ASYNC110 - the server tries again in its own time
                await trio.sleep(0.1)
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert [entry["event"] for entry in errors] == ["endpoint does not answer, it is tried again"]
    assert "in use" in errors[0]["error"]


async def _status_of(get: Get, port: int) -> int | None:
    try:
        return (await get(port, "/live"))[0]
    except OSError:
        return None


async def test_a_bug_is_survived(
    new_server: Callable[[CollectorSection], Server],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
) -> None:
    """After any failure serving starts again, with a longer delay each time."""
    server = new_server(CollectorSection(metrics_port=0))
    starts: list[float] = []

    async def fail(*_: Any) -> None:
        starts.append(trio.current_time())
        raise RuntimeError("a bug")

    monkeypatch.setattr(server, "_listen", fail)
    with capture_logs() as logs:
        nursery.start_soon(server.run)
        await trio.sleep(100)
    pauses = [after - before for before, after in itertools.pairwise(starts)]
    assert len(pauses) > 4
    assert pauses[0] < 2 < 8 < pauses[4]
    assert [entry["log_level"] for entry in logs].count("error") == 1


async def test_a_bug_in_sampling(
    storage: StorageSection,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
) -> None:
    """A failing sample is logged, and ends neither the endpoint nor the collector."""
    monkeypatch.setattr("trio_collector.endpoint.sampler.build_status", lambda *_: 1 / 0)
    with capture_logs() as logs:
        section = CollectorSection(metrics_port=0)
        await nursery.start(partial(run_endpoint, section, storage, LiveState()))
        await trio.sleep(100)
    bugs = [entry for entry in logs if entry["event"] == "bug in the endpoint, it goes on"]
    assert len(bugs) == 4  # every 32 s


async def test_ipv6(storage: StorageSection, nursery: trio.Nursery) -> None:
    """It can be bound to ::1."""
    section = CollectorSection(metrics_host="::1", metrics_port=0)
    url = await nursery.start(partial(run_endpoint, section, storage, LiveState()))
    if url is None:
        pytest.skip("no IPv6 on this machine")
    assert url.startswith("http://[::1]:")


async def test_samples_and_news(
    storage: StorageSection,
    live: LiveState,
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
) -> None:
    """A change of the verdict is logged once and is a recent event."""
    now_us = live.started_us
    sampler = StatusSampler(sources_of(live, storage), lambda: now_us)
    with capture_logs() as logs:
        nursery.start_soon(sampler.run)
        await sampler.wait_sample()
        for stream in live.streams:
            live.noted(stream, LedgerEvent.STALE, now_us, {"limit_s": 10.0})
        with trio.fail_after(5 * SAMPLE_S):
            await sampler.wait_sample()
            await sampler.wait_sample()
    told = [entry for entry in logs if entry["event"] == "health changed"]
    assert [(entry["before"], entry["status"]) for entry in told] == [("healthy", "unhealthy")]
    happened = [each.event for each in sampler.document().happenings]
    assert happened[0] == "unhealthy"
