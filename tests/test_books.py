"""Each file of a book can be read without the others: it holds the whole book, and what follows."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pyarrow.parquet as pq
import pytest
import trio

from trio_collector import app, layout
from trio_collector.config.settings import Config
from trio_collector.feed import line
from trio_collector.feed.books import fetch
from trio_collector.simulator import Fault, FaultScript, Kind, Simulation, Simulator

StartSimulator = Callable[[Simulation], Awaitable[Simulator]]
WaitUntil = Callable[[Callable[[], bool]], Awaitable[None]]

VENUES = {
    "binance": ("BTCUSDT",),
    "coinbase": ("BTC-USD",),
    "okx": ("BTC-USDT",),
    "bybit": ("BTCUSDT",),
}
BRISK = Simulation(exchanges=VENUES, is_recording=True, books_per_s=30, trades_per_s=1)
FILE_S = 3.0
# The writer tells of a new file when it flushes its first rows, and only then is the whole book
# asked for. With the second that is usual, a third of each file passes before that.
FLUSH_S = 0.1
FILES = 3

Levels = dict[str, str]
Row = tuple[str, dict[str, Any]]  # its id, and what it says


@pytest.fixture
def diff_config(config_for: Callable[..., Config]) -> Callable[[Simulator], Config]:
    """Make a configuration for books of changes alone, with a new file every few seconds."""

    def make(simulator: Simulator) -> Config:
        config = config_for(
            simulator, VENUES, max_file_age_secs=FILE_S, flush_interval_secs=FLUSH_S
        )
        rest_url = simulator.base_url("binance").replace("ws", "http", 1)
        options: dict[str, dict[str, Any]] = {
            "binance": {"orderbook": "diff", "rest_url": rest_url, "snapshot_depth": 5000}
        }
        markets = [
            msgspec.structs.replace(each, feeds=each.feeds[:1], **options.get(each.exchange, {}))
            for each in config.markets
        ]
        return msgspec.structs.replace(config, markets=tuple(markets))

    return make


@contextlib.asynccontextmanager
async def collecting(config: Config) -> AsyncIterator[None]:
    """Collect as long as the block runs, then drain."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(app.collect, config, app.plan(config, {}), stop)
        yield
        stop.set()
        nursery.cancel_scope.deadline = trio.current_time() + 30
    assert not nursery.cancel_scope.cancelled_caught


def files_of(root: Path, exchange: str) -> list[list[Row]]:
    """Return the rows of each file of the book, the oldest file first."""
    return [
        [
            (row["exchange_sequence_id"], orjson.loads(row["data"]))
            for row in pq.read_table(path, columns=["exchange_sequence_id", "data"]).to_pylist()
        ]
        for path in paths_of(root, exchange)
    ]


def paths_of(root: Path, exchange: str) -> list[Path]:
    return sorted((root / exchange).rglob(f"orderbook/**/*{layout.SEALED}"))


async def test_each_file_holds_the_whole_book(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start_simulator: StartSimulator,
    diff_config: Callable[[Simulator], Config],
    wait_until: WaitUntil,
) -> None:
    """From each file alone Binance's book is built; all others hold a snapshot of their own."""
    monkeypatch.setattr(line, "HEALTHY_S", 0.0)
    simulator = await start_simulator(BRISK)
    archive = tmp_path / "archive"
    async with collecting(diff_config(simulator)):
        await wait_until(partial(has_files, archive))
        simulator.pause()
        await simulator.wait_sent()
    for exchange in VENUES:
        files = files_of(archive, exchange)
        assert len(files) >= FILES
        for rows in files[:-1]:  # the last one may have ended before its snapshot came
            assert any(is_whole(data) for _id, data in rows), exchange
    built = [build(rows) for rows in files_of(archive, "binance")[:-1]]
    assert all(steps > 10 for _book, steps in built)
    book, _steps = build([row for rows in files_of(archive, "binance") for row in rows])
    market = simulator.exchanges["binance"].markets["BTCUSDT"]
    true, unit = market.book(), 10**market.price_decimals
    for built_side, true_side in ((book["b"], true.bids), (book["a"], true.asks)):
        assert sorted(map(float, built_side)) == sorted(price / unit for price, _ in true_side)


def has_files(archive: Path, exchanges: Iterable[str] = VENUES) -> bool:
    """Return whether each book has its files; looking costs nothing that the collector needs."""
    return all(len(paths_of(archive, exchange)) >= FILES for exchange in exchanges)


def is_whole(data: dict[str, Any]) -> bool:
    """Return whether a message holds a whole book."""
    kinds = {data.get("action"), data.get("type")} | {
        event["type"] for event in data.get("events", ())
    }
    return "snapshot" in kinds or "lastUpdateId" in data


def build(rows: list[Row]) -> tuple[dict[str, Levels], int]:
    """Build the book from the latest whole one by Binance's rule; return it and the steps taken."""
    starts = [number for number, (_id, data) in enumerate(rows) if "lastUpdateId" in data]
    whole = rows[starts[-1]][1]
    reached = whole["lastUpdateId"]
    book = {"b": dict(whole["bids"]), "a": dict(whole["asks"])}
    steps = 0
    for _id, data in rows:
        if "lastUpdateId" in data or (change := data["data"])["u"] <= reached:
            continue
        assert change["U"] <= reached + 1 <= change["u"]
        reached, steps = change["u"], steps + 1
        for side, levels in book.items():
            for price, size in change[side]:
                levels[price] = size
                if not float(size):
                    del levels[price]
    return book, steps


async def test_whole_books_come_whatever_is_answered_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start_simulator: StartSimulator,
    diff_config: Callable[[Simulator], Config],
    wait_until: WaitUntil,
) -> None:
    """Refusals, garbage, half an answer, none, one that is late or too old: then the book."""
    for name, seconds in (("FETCH_S", 0.5), ("FIRST_DELAY_S", 0.05), ("LONGEST_DELAY_S", 0.1)):
        monkeypatch.setattr(fetch, name, seconds)
    bad = [
        Fault(kind=Kind.REST_STATUS, status=429, retry_after_s=1.0, times=1),
        Fault(kind=Kind.REST_STATUS, status=503, times=1),
        Fault(kind=Kind.REST_GARBAGE, times=1),
        Fault(kind=Kind.REST_CUT, times=1),
        Fault(kind=Kind.REST_SILENT, times=1),
        Fault(kind=Kind.REST_STALE, times=1),
        Fault(kind=Kind.REST_LAG, delay_s=0.2, times=1),
    ]
    exchanges = {"binance": ("BTCUSDT",)}
    simulator = await start_simulator(
        Simulation(exchanges=exchanges, books_per_s=30, faults=FaultScript(faults=tuple(bad)))
    )
    config = diff_config(simulator)
    config = msgspec.structs.replace(config, markets=config.markets[:1])
    archive = tmp_path / "archive"
    async with collecting(config):
        await wait_until(partial(has_files, archive, exchanges))
    happened = [each.kind for each in simulator.injected_faults]
    assert sorted(happened) == sorted(fault.kind for fault in bad)
    files = [rows for rows in files_of(archive, "binance") if any(is_whole(d) for _id, d in rows)]
    # File by file: the whole book of the last one may have come just before the end.
    assert max(steps for _book, steps in map(build, files)) > 10
