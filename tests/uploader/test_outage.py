"""A store that is away for an hour while the collector goes on sealing files: it costs disk alone."""

import gc
import io
import itertools
import os
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq
import pytest
import trio
from structlog.testing import capture_logs
from structlog.typing import EventDict
from trio.testing import MockClock

from trio_collector.budget import ByteBudget
from trio_collector.config.settings import StorageSection
from trio_collector.errors import StoreUnavailable
from trio_collector.events import Batch, DataType, Stream
from trio_collector.telemetry import metrics
from trio_collector.telemetry.storage_state import DeliveryState
from trio_collector.threads import Workers
from trio_collector.uploader import spool as spools
from trio_collector.uploader.task import DELAYS, run_uploader
from trio_collector.writer.task import run_writer

NOON_US = 1_795_348_800_000_000  # 2026-11-22 12:00:00 UTC
MINUTE_S = 60.0
SETTLED_S = 10 * MINUTE_S
OUTAGE_S = 60 * MINUTE_S
AFTERWARDS_S = 10 * MINUTE_S  # for which it goes on collecting when the store is back

STREAMS = [Stream("binance", symbol, DataType.TRADE) for symbol in ("btcusdt", "ethusdt")]
BATCH_EVERY_S = 10.0
SEAL_EVERY_S = 20.0  # of each stream: 360 files in the hour

# Of more files than this, the uploader keeps but a number. It is reached in the first ten minutes.
FRONT = 50

# Measured: 27 to 39 kB, most of it below pyarrow and in caches; 206 kB if it knew all 300 files that
# come in these fifty minutes.
MOST_GROWTH_BYTES = 80_000

# A new table of interned strings has more, in any process that has imported pyarrow.
TABLE_BYTES = 200_000

# Two for each slot until the store counts as down; then the delays grow to 180 s at least, in nine
# steps: see backoff.py. Measured: 24 and 25 calls with one slot, 30 and 31 with four.
MOST_ATTEMPTS = 9 + int(OUTAGE_S / 180)


def now_us() -> int:
    """Return a wall clock that runs with the trio clock."""
    return NOON_US + round(trio.current_time() * 1e6)


class Hour:
    """A writer and an uploader that run, and what was seen of them minute by minute.

    It keeps numbers alone: what grows shall be theirs.
    """

    def __init__(self, spool: Path, log: list[EventDict]) -> None:
        self.state = DeliveryState()
        self.rows = 0
        self.sealed: list[float] = []
        self.waiting: list[int] = []
        self._spool = spool
        self._log = log
        self._sealed_before = metrics.total(metrics.parquet_files_rotated)

    def look(self) -> None:
        self.sealed.append(metrics.total(metrics.parquet_files_rotated) - self._sealed_before)
        self.waiting.append(sum(1 for _path in self._spool.rglob("*.parquet")))
        self._log.clear()


@asynccontextmanager
async def collecting(
    hour: Hour, spool: Path, slots: int, store: Any, workers: Workers
) -> AsyncIterator[trio.MemorySendChannel[Batch]]:
    """Run the writer and the uploader as the collector does; leaving drains them in order."""
    storage = StorageSection(
        mode="s3",
        data_dir=str(spool),
        min_free_bytes=0,
        flush_interval_secs=BATCH_EVERY_S,
        sync_interval_secs=SEAL_EVERY_S,
        max_file_age_secs=SEAL_EVERY_S,
        upload_concurrency=slots,
    )
    to_writer, batches = trio.open_memory_channel[Batch](10)
    wake_uploader, wakeups = trio.open_memory_channel[None](1)
    write = partial(run_writer, server=None, now_us=now_us, new_worker=lambda: workers.disk)
    upload = partial(
        run_uploader,
        store=store,
        state=hour.state,
        now_s=lambda: now_us() / 1e6,
        workers=workers,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upload, storage, wakeups)
        nursery.start_soon(write, storage, batches, wake_uploader, ByteBudget(1 << 20))
        async with to_writer:
            yield to_writer


async def feed(hour: Hour, to_writer: trio.MemorySendChannel[Batch], until_s: float) -> None:
    """Send rows of each stream until `until_s`, and look around once a minute."""
    while trio.current_time() < until_s:
        for stream in STREAMS:
            batch = Batch(stream, now_us())
            batch.append("", None, b"%d" % hour.rows)
            hour.rows += 1
            batch.size_bytes = 0  # nothing was acquired for it
            await to_writer.send(batch)
        await trio.sleep(BATCH_EVERY_S)
        if trio.current_time() % MINUTE_S == 0:
            hour.look()


def stored_rows(objects: dict[str, bytes]) -> list[int]:
    return [
        int(frame)
        for body in objects.values()
        for frame in pq.read_table(io.BytesIO(body), columns=["data"])["data"].to_pylist()
    ]


def first_ms(key: str) -> int:
    return int(PurePosixPath(key).stem)


def older_behind(keys: list[str]) -> list[int]:
    """Return of each file how many older ones were put after it."""
    times = [first_ms(key) for key in keys]
    return [sum(later < time for later in times[n:]) for n, time in enumerate(times)]


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    """What is logged, in a list that may be emptied; pytest would keep all of it."""
    with capture_logs() as entries:
        yield entries


@pytest.mark.parametrize("slots", [1, 4])
async def test_an_hour_without_the_store(
    slots: int,
    spool: Path,
    memory_store: Any,
    inline_workers: Workers,
    logged: list[EventDict],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    """No file is lost, memory stays flat, the store is asked seldom, and then all comes in order."""

    async def be_away(_call: str, _key: str) -> None:
        await trio.lowlevel.checkpoint()
        if trio.current_time() < OUTAGE_S:
            raise StoreUnavailable("the connection is refused")

    memory_store.befall = be_away
    no_waiting_for_the_disk(monkeypatch)
    monkeypatch.setattr(spools, "FRONT", FRONT)
    hour = Hour(spool, logged)
    tracemalloc.start()
    renew_interned()
    try:
        async with collecting(hour, spool, slots, memory_store, inline_workers) as to_writer:
            await feed(hour, to_writer, SETTLED_S)
            before = python_bytes()
            await feed(hour, to_writer, OUTAGE_S)
            grown = python_bytes() - before
            asked, was_down = len(memory_store.calls), hour.state.is_store_down
            assert not memory_store.objects
            assert hour.waiting == hour.sealed
            await feed(hour, to_writer, OUTAGE_S + AFTERWARDS_S)
    finally:
        tracemalloc.stop()
    assert (was_down, hour.state.is_store_down) == (True, False)
    assert grown < MOST_GROWTH_BYTES
    assert asked <= 2 * slots + MOST_ATTEMPTS
    assert hour.waiting[59] > 300 > 5 * FRONT
    assert hour.waiting[-1] == 0
    assert files_in(spool) == []
    assert sorted(stored_rows(memory_store.objects)) == list(range(hour.rows))
    puts = [(time, key) for time, call, key in memory_store.calls if call == "put"]
    assert sorted(key for _time, key in puts) == sorted(memory_store.objects)
    # Which file finds out that the store is back is up to the delays; then it is the oldest's turn.
    assert max(older_behind([key for _time, key in puts[1:]])) < slots
    back_s = puts[0][0]
    assert back_s - OUTAGE_S <= DELAYS.longest_s
    oldest = sorted(puts, key=lambda put: first_ms(put[1]))[: hour.waiting[59]]
    assert {time for time, _key in oldest} == {back_s}


def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync nothing: no power is lost here, and waiting for it is a third of the test's time."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(os, "fdatasync", lambda _descriptor: None)


def renew_interned() -> None:
    """Have Python build its table of interned strings anew, now that memory is traced.

    It does so each time that as many strings as the table has room for have come and gone, and
    pathlib interns each part of a path. After many tests the table has 3.8 MB. One from before the
    tracing would be replaced by one that counts, at some time in the hour.
    """
    before = tracemalloc.get_traced_memory()[0]
    for number in itertools.count():
        sys.intern(f"come and gone {number}")
        if tracemalloc.get_traced_memory()[0] - before > TABLE_BYTES:
            return


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def python_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
