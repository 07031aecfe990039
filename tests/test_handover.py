"""Sessions that relieve each other, and two side by side: over real sockets nothing is missing."""

import itertools
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
import trio

from tests.support.collector import RunningCollector
from trio_collector import app
from trio_collector.config.settings import Config
from trio_collector.events import DataType, Stream
from trio_collector.exchanges.adapter import Adapter
from trio_collector.feed import line
from trio_collector.simulator import Simulation, Simulator

Frames = dict[Stream, list[bytes]]
StartSimulator = Callable[[Simulation], Awaitable[Simulator]]
WaitUntil = Callable[[Callable[[], bool]], Awaitable[None]]

VENUES = {
    "binance": ("BTCUSDT",),
    "coinbase": ("BTC-USD",),
    "upbit": ("KRW-BTC",),
    "okx": ("BTC-USDT",),
    "bybit": ("BTCUSDT",),
}
BRISK = Simulation(exchanges=VENUES, is_recording=True, books_per_s=40, trades_per_s=30)
SETTLE_S = 0.5


@pytest.fixture
def start_run(
    nursery: trio.Nursery, config_for: Callable[..., Config]
) -> Callable[..., RunningCollector]:
    """Start a collector whose connections were changed as told."""

    def start(simulator: Simulator, lines: int = 1, **traits: Any) -> RunningCollector:
        config = config_for(simulator, VENUES)
        connections = [msgspec.structs.replace(each, lines=lines) for each in app.plan(config, {})]
        for connection, (name, trait) in itertools.product(connections, traits.items()):
            setattr(connection.adapter, name, trait)
        run = RunningCollector(config, connections)
        nursery.start_soon(run.run)
        return run

    return start


async def end(run: RunningCollector, simulator: Simulator) -> None:
    """Let what was sent arrive, and end."""
    simulator.pause()
    await simulator.wait_sent()
    rows = -1
    while rows != run.rows():
        rows = run.rows()
        await trio.sleep(SETTLE_S)
    await run.end()
    assert run.is_clean


def sent_frames(simulator: Simulator) -> Frames:
    return {
        Stream(key.exchange, key.symbol, DataType(key.data_type)): frames
        for key, frames in simulator.sent.frames.items()
    }


# What differs between connections: Coinbase counts and dates the frames of each; Upbit opens with a
# trade of the past, which it calls a snapshot.
OWN = re.compile(rb'"sequence_num":\d+|"timestamp":"[^"]+"|"st":"\w+"|"tms":\d+')


def essence(frame: bytes) -> bytes:
    """Return what is the same on every connection."""
    return OWN.sub(b"", frame)


def is_snapshot(frame: bytes) -> bool:
    """Return whether a frame is what a new subscription is sent first."""
    return b'"snapshot"' in frame or b'"SNAPSHOT"' in frame


def check_complete(stored: Frames, simulator: Simulator, adapters: dict[str, Adapter]) -> None:
    """Everything sent is stored; what has the same id on every connection, once."""
    for stream, frames in sent_frames(simulator).items():
        sent, rows = frames, stored[stream]
        if stream.data_type in adapters[stream.exchange].global_ids:
            # A session may open with what another one has brought.
            sent = [frame for frame in sent if not is_snapshot(frame)]
            rows = [frame for frame in rows if not is_snapshot(frame)]
            assert max(Counter(map(essence, rows)).values()) == 1, stream
        assert set(map(essence, sent)) == set(map(essence, rows)), stream


def ledger(stored: Frames) -> list[dict[str, Any]]:
    """Return all rows of the ledger."""
    return [
        {"exchange": stream.exchange, **orjson.loads(frame)}
        for stream, frames in stored.items()
        if stream.data_type is DataType.STATUS
        for frame in frames
    ]


def events(stored: Frames) -> Counter[str]:
    return Counter(row["event"] for row in ledger(stored))


async def test_every_session_is_relieved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start_simulator: StartSimulator,
    start_run: Callable[..., RunningCollector],
    stored_frames: Callable[[Path], Frames],
    wait_until: WaitUntil,
) -> None:
    """When sessions reach their age others carry on first: no message is missing on any exchange."""
    monkeypatch.setattr(line, "HEALTHY_S", 0.0)
    simulator = await start_simulator(BRISK)
    run = start_run(simulator, max_session_s=4.0)
    live = run.live.connections
    await wait_until(lambda: len(live) == 10 and all(v.session > 2 for v in live.values()))
    await end(run, simulator)
    stored = stored_frames(tmp_path / "archive")
    check_complete(stored, simulator, {each.adapter.name: each.adapter for each in run.connections})
    told = events(stored)
    assert told["handover"] >= 10
    assert told["gap"] == told["duplicate"] == told["stale"] == 0
    ends = [row["reason"] for row in ledger(stored) if row["event"] == "disconnected"]
    assert set(ends) == {"handover"}
    for row in ledger(stored):
        if row["event"] == "handover":
            assert row["from_us"] <= row["to_us"]


def has_more(run: RunningCollector, rows: int) -> bool:
    return run.rows() >= rows


def cut_one_of_each(simulator: Simulator, which: int) -> None:
    """Break one of the two connections of each topic: the older or the younger one."""
    victims = [
        list(topic.subscribers)[which]
        for exchange in simulator.exchanges.values()
        for topic in exchange._topics.values()
    ]
    for connection in list(simulator.connections):
        if connection.dialect in victims:
            connection.outbox.scope.cancel()


def is_back(run: RunningCollector, sessions: dict[str, int]) -> bool:
    """Return whether each connection that was cut has its next session."""
    live = run.live.connections
    renewed = [name for name, each in live.items() if each.session > sessions[name]]
    return len(renewed) == len(live) / 2 and all(each.is_up for each in live.values())


async def test_the_loss_of_a_leg_costs_nothing(
    tmp_path: Path,
    start_simulator: StartSimulator,
    start_run: Callable[..., RunningCollector],
    stored_frames: Callable[[Path], Frames],
    wait_until: WaitUntil,
) -> None:
    """With two sessions for each connection one of them is cut, then the other; all is there."""
    simulator = await start_simulator(BRISK)
    run = start_run(simulator, lines=2)
    live = run.live.connections
    await wait_until(lambda: len(live) == 20 and all(v.is_up for v in live.values()))
    for number in range(4):
        await wait_until(partial(has_more, run, run.rows() + 500))
        sessions = {name: each.session for name, each in live.items()}
        cut_one_of_each(simulator, number % 2)
        await wait_until(partial(is_back, run, sessions))
    await end(run, simulator)
    stored = stored_frames(tmp_path / "archive")
    check_complete(stored, simulator, {each.adapter.name: each.adapter for each in run.connections})
    told = events(stored)
    assert told["gap"] == 0
    assert told["disconnected"] == 40
