"""What the tests of the writer share: batches, journals, sealed rows, and a whole run."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
import pytest
import trio

from tests.support.disk import no_descriptor_leaks
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import StorageSection
from trio_collector.disk import LOCAL_DISK, Disk
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.columns import record_batch
from trio_collector.format.header import new_header
from trio_collector.format.journal import Journal
from trio_collector.telemetry.storage_state import DiskState
from trio_collector.threads import Worker
from trio_collector.writer.task import run_writer

T = TypeVar("T")

NOON_US = 1_700_049_600_000_000  # 2023-11-15 12:00:00 UTC

TRADES = Stream("binance", "btcusdt", DataType.TRADE)


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Make a batch of rows that can be told apart: `frames`, or as many as `rows` says."""

    def make(
        rows: int = 1,
        *,
        stream: Stream = TRADES,
        received_us: int = NOON_US,
        frames: Sequence[bytes] = (),
        start: int = 0,
    ) -> Batch:
        batch = Batch(stream, received_us)
        for number, frame in enumerate(frames or [b'{"n":%d}' % (start + n) for n in range(rows)]):
            exchange_us = None if number % 3 == 2 else received_us - number
            batch.append(f"id{start + number}", exchange_us, frame)
        return batch

    return make


@pytest.fixture
def write_journal() -> Callable[..., list[int]]:
    """Write a journal with one append per batch; return where the header and each append end."""

    def write(path: Path, batches: Sequence[Batch], server: str | None = None) -> list[int]:
        path.parent.mkdir(parents=True, exist_ok=True)
        header = new_header(batches[0].stream, server, batches[0].received_us)
        journal = Journal(path, LOCAL_DISK.create(path), header, LOCAL_DISK)
        ends = [header.schema().serialize().size]
        for batch in batches:
            journal.append(record_batch([batch]))
            ends.append(journal.size_bytes)
        journal.close()
        return ends

    return write


@pytest.fixture
def sealed_frames() -> Callable[[Path], list[bytes]]:
    """Return the frames of all data rows in sealed files below a folder, file by file."""

    def read(root: Path) -> list[bytes]:
        frames: list[bytes] = []
        for path in sorted(root.rglob("*.parquet")):
            if "status" not in path.parts and "quarantine" not in path.parts:
                frames += map(_bytes_of, pq.read_table(path, columns=["data"])["data"].to_pylist())
        return frames

    return read


def _bytes_of(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@pytest.fixture
def ledger() -> Callable[[Path], list[str]]:
    """Return the `data` of all status rows in sealed files below a folder."""

    def read(root: Path) -> list[str]:
        rows: list[str] = []
        for path in sorted(root.rglob("status/**/*.parquet")):
            rows += pq.read_table(path, columns=["data"])["data"].to_pylist()
        return rows

    return read


@pytest.fixture
def inline_worker() -> Callable[[], Worker]:
    """A worker without a thread: on a virtual clock, time stands still while it works."""

    async def work(task: Callable[[], T]) -> T:
        await trio.lowlevel.checkpoint()
        return task()

    return lambda: work


@pytest.fixture
def run_once(inline_worker: Callable[[], Worker]) -> Callable[..., Awaitable[int]]:
    """Run the writer from start to end over some batches; return what is left of the budget used.

    A run that ends without an exception has closed every descriptor that it opened.
    """

    async def run(
        root: Path,
        batches: Sequence[Batch],
        disk: Disk = LOCAL_DISK,
        state: DiskState | None = None,
        **storage: Any,
    ) -> int:
        section = StorageSection(
            **{"mode": "s3", "data_dir": str(root), "min_free_bytes": 0, **storage}
        )
        to_writer, received = trio.open_memory_channel[Batch](max(1, len(batches)))
        wake_uploader, _wakeups = trio.open_memory_channel[None](1)
        budget = ByteBudget(1 << 30)
        with to_writer:
            for batch in batches:
                await budget.acquire(batch.size_bytes)
                to_writer.send_nowait(batch)
        with _wakeups, no_descriptor_leaks():
            await run_writer(
                section,
                received,
                wake_uploader,
                budget,
                server=None,
                disk=disk,
                state=state,
                new_worker=inline_worker,
            )
        return budget.used_bytes

    return run
