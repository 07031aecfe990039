"""A real process under load is killed with SIGKILL; the next start has every row that was flushed."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trio_collector.format.journal_reader import JournalState, inspect_journal, open_journal

KILLS = 5

# Numbered rows of six streams, sealed all the time. The budget counts rows here, so that what was
# acquired and is not in use any more is what the writer says is in journals.
WRITER = """
import sys, time
import structlog, trio
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import StorageSection
from trio_collector.events import Batch, DataType, Stream
from trio_collector.writer.task import run_writer

async def feed(to_writer, budget, first):
    number = int(first)
    while True:
        stream = Stream("binance", f"s{number % 6}", DataType.TRADE)
        batch = Batch(stream, time.time_ns() // 1000)
        for _ in range(50):
            batch.append(str(number), None, b'{"n":%d}' % number)
            number += 1
        batch.size_bytes = batch.rows
        await budget.acquire(batch.rows)
        budget.acquired += batch.rows
        await to_writer.send(batch)
        await trio.sleep(0.001)

async def tell(budget):
    while True:
        print(budget.acquired - budget.used_bytes, flush=True)
        await trio.sleep(0.02)

async def main(root, first):
    storage = StorageSection(mode="s3", data_dir=root, min_free_bytes=0, max_file_age_secs=0.5,
                             flush_interval_secs=0.05, sync_interval_secs=0.1)
    to_writer, batches = trio.open_memory_channel(10)
    wake_uploader, _wakeups = trio.open_memory_channel(1)
    budget = ByteBudget(10_000)
    budget.acquired = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run_writer(
            storage, batches, wake_uploader, budget, server=None))
        nursery.start_soon(feed, to_writer, budget, first)
        nursery.start_soon(tell, budget)

structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
trio.run(main, *sys.argv[1:])
"""


def journaled(root: Path) -> set[bytes]:
    frames: set[bytes] = set()
    for path in root.rglob("*.arrows"):
        if "status" not in path.parts and inspect_journal(path) is JournalState.ROWS:
            with open_journal(path) as reader:
                frames.update(text.encode() for rows in reader for text in rows["data"].to_pylist())
    return frames


def leftovers(root: Path) -> list[Path]:
    """Return what is not a sealed file, and what is in quarantine."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return [path for path in files if path.suffix != ".parquet" or "quarantine" in path.parts]


def kill_at(root: Path, first: int, rounds: int) -> int:
    """Run a writer until it has told so many times, kill it, and return what it told last."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(first)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(rounds)]
        process.kill()
    return told[-1]


@pytest.mark.slow
async def test_kills_under_load(
    tmp_path: Path,
    run_once: Callable[..., Awaitable[int]],
    sealed_frames: Callable[[Path], list[bytes]],
) -> None:
    """Every row that was in a journal when the process died is in exactly one file afterwards."""
    dice = random.Random(11)
    flushed = 0
    expected: set[bytes] = set()
    for life in range(KILLS):
        flushed += kill_at(tmp_path, life * 10_000_000, dice.randrange(10, 60))
        expected |= journaled(tmp_path) | set(sealed_frames(tmp_path))
        assert len(expected) >= flushed > 0
    await run_once(tmp_path, [])
    found = Counter(sealed_frames(tmp_path))
    assert found.keys() == expected
    assert set(found.values()) == {1}
    assert leftovers(tmp_path) == []
