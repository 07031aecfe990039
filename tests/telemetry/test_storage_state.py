"""The states of writer and uploader: what the page shows of them is what the metrics count."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.support.live import batch_of
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import StorageSection
from trio_collector.errors import StoreUnavailable
from trio_collector.events import Batch, DataType, Stream
from trio_collector.telemetry import metrics
from trio_collector.telemetry.storage_state import DeliveryState, DiskState
from trio_collector.threads import Worker, Workers
from trio_collector.uploader.spool import SealedFile
from trio_collector.uploader.task import run_uploader
from trio_collector.writer.disk_guard import DiskGuard
from trio_collector.writer.task import run_writer

START_US = 1_700_000_000_000_000

Totals = dict[str, float]


def batch(symbol: str, rows: int) -> Batch:
    return batch_of(Stream("binance", symbol, DataType.TRADE), rows, START_US)


def totals() -> Totals:
    """Return what the metrics have counted of storage."""
    return {
        "rows_dropped": metrics.total(metrics.messages_dropped),
        "journal_rows": metrics.total(metrics.journal_rows),
        "files_sealed": metrics.total(metrics.parquet_files_rotated),
        "rows_sealed": metrics.total(metrics.parquet_rows_written),
        "uploads": metrics.REGISTRY.get_sample_value(
            "collector_s3_upload_seconds_count", {"status": "success"}
        )
        or 0.0,
        "upload_failures": metrics.total(metrics.s3_upload_failures),
        "uploaded_bytes": metrics.total(metrics.s3_upload_bytes),
    }


@pytest.fixture
def counted() -> Callable[[], Totals]:
    """Return what the metrics have counted since the test began, zeros left out."""
    before = totals()
    return lambda: {
        name: now - before[name] for name, now in totals().items() if now != before[name]
    }


async def write(data_dir: Path, *batches: Batch) -> DiskState:
    """Let a writer write `batches` and end; return its state."""
    state = DiskState()
    storage = StorageSection(mode="s3", data_dir=str(data_dir), min_free_bytes=0)
    to_writer, received = trio.open_memory_channel[Batch](len(batches))
    wake_uploader, _wakeups = trio.open_memory_channel[None](1)
    budget = ByteBudget(1 << 20)
    for each in batches:
        await budget.acquire(each.size_bytes)
        to_writer.send_nowait(each)
    to_writer.close()
    await run_writer(storage, received, wake_uploader, budget, server=None, state=state)
    return state


async def test_rows_that_are_sealed(tmp_path: Path, counted: Callable[[], Totals]) -> None:
    """Rows in journals, sealed files and their rows are counted alike in the state and metrics."""
    state = await write(tmp_path, batch("btcusdt", 3), batch("ethusdt", 4))
    assert (state.journal_rows, state.files_sealed, state.rows_sealed) == (7, 2, 7)
    assert counted() == {"journal_rows": 7, "files_sealed": 2, "rows_sealed": 7}
    assert state.rows_buffered == metrics.total(metrics.parquet_rows_buffered) == 0


async def test_rows_that_wait(
    tmp_path: Path,
    nursery: trio.Nursery,
    inline_worker: Callable[[], Worker],
    autojump_clock: MockClock,
) -> None:
    """Rows in memory are the same in the state and in the metrics."""
    state = DiskState()
    storage = StorageSection(data_dir=str(tmp_path), min_free_bytes=0, flush_interval_secs=600.0)
    to_writer, received = trio.open_memory_channel[Batch](1)
    wake_uploader, _wakeups = trio.open_memory_channel[None](1)
    run = partial(run_writer, server=None, state=state, new_worker=inline_worker)
    nursery.start_soon(run, storage, received, wake_uploader, ByteBudget(1 << 20))
    await to_writer.send(batch("btcusdt", 3))
    await trio.sleep(60)
    assert state.rows_buffered == metrics.total(metrics.parquet_rows_buffered) == 3
    nursery.cancel_scope.cancel()


async def test_rows_that_are_given_up(
    tmp_path: Path, counted: Callable[[], Totals], autojump_clock: MockClock
) -> None:
    """Rows that cannot be written until the end are dropped, in the state and in the metrics."""
    (tmp_path / "file").touch()
    state = await write(tmp_path / "file" / "spool", batch("btcusdt", 3))
    assert state.rows_dropped == 3
    assert counted() == {"rows_dropped": 3}
    assert state.rows_buffered == metrics.total(metrics.parquet_rows_buffered) == 0


def test_rows_that_are_shed(counted: Callable[[], Totals]) -> None:
    """Free bytes and shed rows are the same in the state and in the metrics."""
    state = DiskState()
    guard = DiskGuard(min_free_bytes=10, state=state)
    guard.note_free(5)
    guard.shed(batch("btcusdt", 3))
    assert state.free_bytes == metrics.total(metrics.disk_free_bytes) == 5
    assert state.rows_dropped == 3
    assert counted() == {"rows_dropped": 3}


async def test_uploads(
    spool: Path,
    seal: Callable[..., SealedFile],
    memory_store: Any,
    inline_workers: Workers,
    counted: Callable[[], Totals],
    autojump_clock: MockClock,
) -> None:
    """Uploads, their bytes and failed attempts are counted alike in the state and metrics."""
    seal(1_700_000_000_000, b"ten bytes.")
    failing = str(seal(1_700_000_000_001, b"twenty bytes, almost").key)

    async def fail_once(_call: str, key: str) -> None:
        await trio.lowlevel.checkpoint()
        if key == failing:
            memory_store.befall = memory_store.pass_by
            raise StoreUnavailable("away")

    memory_store.befall = fail_once
    state = DeliveryState()
    wake_uploader, wakeups = trio.open_memory_channel[None](1)
    wake_uploader.close()
    storage = StorageSection(mode="s3", data_dir=str(spool))
    await run_uploader(storage, wakeups, store=memory_store, state=state, workers=inline_workers)
    assert (state.uploads, state.uploaded_bytes, state.upload_failures) == (2, 30, 1)
    assert counted() == {"uploads": 2, "uploaded_bytes": 30, "upload_failures": 1}


def test_age_of_the_backlog() -> None:
    """It is the age of the oldest file, 0 without one, and never negative."""
    assert DeliveryState().backlog_age_s(9.0) == 0.0
    assert DeliveryState(oldest_s=4.0).backlog_age_s(9.0) == 5.0
    assert DeliveryState(oldest_s=4.0).backlog_age_s(3.0) == 0.0
