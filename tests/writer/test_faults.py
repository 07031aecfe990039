"""The disk fails, or the process dies, at every single call: every row is in exactly one file."""

import errno
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.disk import (
    BrokenDisk,
    FailingReads,
    FaultyDisk,
    FlakyDisk,
    Killed,
    ShortDisk,
)
from trio_collector.disk import LOCAL_DISK
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.journal_reader import JournalState, inspect_journal, open_journal
from trio_collector.telemetry import metrics
from trio_collector.telemetry.storage_state import DiskState
from trio_collector.writer.seal import seal

RunOnce = Callable[..., Awaitable[int]]
MakeBatch = Callable[..., Batch]
SealedFrames = Callable[[Path], list[bytes]]


@pytest.fixture
def batches(make_batch: MakeBatch) -> list[Batch]:
    """Rows of three streams, one of them over two hours; every frame is there once."""
    streams = [
        Stream("binance", "btcusdt", DataType.TRADE),
        Stream("binance", "btcusdt", DataType.ORDERBOOK),
        Stream("okx", "ethusdt", DataType.TRADE),
    ]
    rows = [make_batch(7, stream=stream, start=100 * n) for n, stream in enumerate(streams)]
    later_us = rows[0].received_us + 3_600_000_000
    return [*rows, make_batch(5, stream=streams[0], start=1000, received_us=later_us)]


def frames_of(batches: Sequence[Batch]) -> list[bytes]:
    return sorted(frame for batch in batches for frame in batch.frames)


def journaled(root: Path) -> list[bytes]:
    """Return the frames that are in a journal or in a sealed file without one."""
    frames: list[bytes] = []
    for path in root.rglob("*.arrows"):
        if inspect_journal(path) is JournalState.ROWS:
            with open_journal(path) as reader:
                frames += [text.encode() for rows in reader for text in rows["data"].to_pylist()]
    return frames


def leftovers(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.suffix in (".arrows", ".tmp")]


def each_n(root: Path) -> Iterator[tuple[int, Path]]:
    """Yield 1, 2, 3 ... with an empty folder for each; the loop ends it."""
    for n in range(1, 1000):
        folder = root / str(n)
        folder.mkdir()
        yield n, folder
    raise AssertionError("the run has no end")


# How often one run of the writer over `batches` makes each call, at least.
LEAST_CALLS = {
    "create": 8,  # four journals, four sealed files
    "write": 50,
    "sync": 4,  # sealed files
    "sync_all": 1,  # the journals, with their folders
    "open_folder": 1,
    "make_folder": 10,
    "sync_folder": 8,
    "rename": 4,
    "unlink": 4,
    "close": 9,
    "free_bytes": 1,
}

# Nothing was written on the descriptor for `sync_all`: nobody needs to know how its close went.
UNTOLD = {("close", 5)}


class Faulty(NamedTuple):
    """How a run of the writer with one error of the disk went."""

    has_happened: bool
    told: float  # errors that were counted


@pytest.fixture
def run_faulty(
    tmp_path: Path,
    batches: list[Batch],
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    ledger: Callable[[Path], list[str]],
) -> Callable[[str, int, int], Awaitable[Faulty]]:
    """Run the writer on a disk whose n-th `call` fails; whatever happens, no row is lost by that."""

    async def run(call: str, n: int, code: int) -> Faulty:
        root = tmp_path / str(n)
        root.mkdir()
        disk, state = FaultyDisk(n, [call], OSError(code, "injected")), DiskState()
        before = metrics.total(metrics.parquet_write_errors)
        assert await run_once(root, batches, disk, state) == 0
        told = metrics.total(metrics.parquet_write_errors) - before
        assert sorted(sealed_frames(root)) == frames_of(batches), n
        assert leftovers(root) == [], n
        assert ledger(root) == [], n
        assert (state.last_error is None) == (told == 0), n
        return Faulty(disk.has_happened, told)

    return run


RunFaulty = Callable[[str, int, int], Awaitable[Faulty]]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    ("call", "n"),
    [(call, n) for call, count in LEAST_CALLS.items() for n in range(1, count + 1)],
)
async def test_one_error(
    run_faulty: RunFaulty, autojump_clock: Any, call: str, n: int, code: int
) -> None:
    """One error of the disk loses no row, doubles none, holds no byte of the budget, and is told."""
    outcome = await run_faulty(call, n, code)
    assert outcome.has_happened
    assert (outcome.told == 0) == ((call, n) in UNTOLD)


@pytest.mark.parametrize("call", LEAST_CALLS)
async def test_errors_of_later_calls(run_faulty: RunFaulty, autojump_clock: Any, call: str) -> None:
    """So do those of the calls that a run makes beyond the least number, up to its end."""
    for n in range(LEAST_CALLS[call] + 1, 1000):
        outcome = await run_faulty(call, n, errno.EIO)
        if not outcome.has_happened:
            assert outcome.told == 0
            return
        assert outcome.told, n
    raise AssertionError("the run has no end")


async def test_a_short_write(
    tmp_path: Path,
    batches: list[Batch],
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    autojump_clock: Any,
) -> None:
    """A write that takes less than it was given, without an error, is an error."""
    for n, root in each_n(tmp_path):
        disk, state = ShortDisk(n), DiskState()
        assert await run_once(root, batches, disk, state) == 0
        assert sorted(sealed_frames(root)) == frames_of(batches), n
        assert leftovers(root) == [], n
        if not disk.has_happened:
            assert n > LEAST_CALLS["write"]
            return
        assert "the disk took" in (state.last_error or ""), n


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["rename", "unlink", "sync_folder"])
async def test_a_seal_that_never_works_is_left_for_the_next_start(
    tmp_path: Path,
    batches: list[Batch],
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    autojump_clock: Any,
    call: str,
    code: int,
) -> None:
    """While the disk fails for good the writer ends without an error; the next start has all rows."""
    state = DiskState()
    disk = BrokenDisk(call, OSError(code, "injected"))
    assert await run_once(tmp_path, batches, disk, state) == 0
    assert state.last_error == f"[Errno {code}] injected"
    assert await run_once(tmp_path, []) == 0
    assert sorted(sealed_frames(tmp_path)) == frames_of(batches)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("seed", range(40))
async def test_errors_everywhere(
    tmp_path: Path,
    batches: list[Batch],
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    autojump_clock: Any,
    seed: int,
) -> None:
    """However often the disk fails: a row is in one file, or was counted as dropped."""
    dropped = metrics.messages_dropped.labels("disk")
    before = metrics.total(dropped)
    assert await run_once(tmp_path, batches, FlakyDisk(seed, 0.02 + seed % 5 / 10)) == 0
    assert await run_once(tmp_path, [], FlakyDisk(seed + 1000, 0.2)) == 0
    assert await run_once(tmp_path, []) == 0
    found = sealed_frames(tmp_path)
    assert len(set(found)) == len(found)
    assert len(found) + metrics.total(dropped) - before == len(frames_of(batches))
    assert set(found) <= set(frames_of(batches))
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "quarantine").exists()


async def run_until_killed(
    run_once: RunOnce, root: Path, batches: Sequence[Batch], disk: FaultyDisk
) -> None:
    """Run the writer until its process dies, if it does."""
    try:
        await run_once(root, batches, disk)
    except* Killed:
        disk.close_all()


async def test_a_kill_between_any_two_calls(
    tmp_path: Path,
    batches: list[Batch],
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    autojump_clock: Any,
) -> None:
    """Whatever call a kill comes before, after a restart each journaled row is in exactly one file."""
    for n, root in each_n(tmp_path):
        disk = FaultyDisk(n)
        await run_until_killed(run_once, root, batches, disk)
        before = Counter(journaled(root))
        sealed = Counter(sealed_frames(root))
        await run_once(root, [])
        found = Counter(sealed_frames(root))
        assert found == before | sealed, n
        assert max(found.values(), default=1) == 1, n
        assert leftovers(root) == [], n
        assert not (root / "quarantine").exists(), n
        if not disk.has_happened:
            assert found == Counter(frames_of(batches))
            return


async def test_a_kill_during_recovery(
    tmp_path: Path,
    batches: list[Batch],
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    autojump_clock: Any,
) -> None:
    """A recovery that is killed anywhere, and the one after it as well, loses and doubles nothing."""
    prepared = tmp_path / "prepared"
    await run_until_killed(run_once, prepared, batches, FaultyDisk(1, ["rename"]))
    before = Counter(journaled(prepared))
    assert before == Counter(frames_of(batches))
    for n, root in each_n(tmp_path):
        shutil.copytree(prepared, root, dirs_exist_ok=True)
        disk = FaultyDisk(n)
        for each in (disk, FaultyDisk(max(1, n // 2))):
            await run_until_killed(run_once, root, [], each)
        await run_once(root, [])
        assert Counter(sealed_frames(root)) == before, n
        assert leftovers(root) == [], n
        if not disk.has_happened:
            return


async def test_one_failed_read(
    tmp_path: Path,
    batches: list[Batch],
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    autojump_clock: Any,
) -> None:
    """What cannot be read today is not damaged: nothing goes into quarantine, and the next try has it all."""
    prepared = tmp_path / "prepared"
    await run_until_killed(run_once, prepared, batches[:2], FaultyDisk(1, ["rename"]))
    # One journal has a sealed file already, as if the process had died before it could delete it.
    journal = min(prepared.rglob("*.arrows"))
    content = journal.read_bytes()
    for path in prepared.rglob("*.tmp"):
        path.unlink()
    seal(journal, LOCAL_DISK)
    journal.write_bytes(content)
    failed = set()
    for n, root in each_n(tmp_path):
        shutil.copytree(prepared, root, dirs_exist_ok=True)
        state, reads = DiskState(), FailingReads(root, n)
        with reads.injected():
            await run_once(root, [], LOCAL_DISK, state)
        assert sorted(sealed_frames(root)) == frames_of(batches[:2]), n
        assert leftovers(root) == [], n
        assert not (root / "quarantine").exists(), n
        if not reads.has_happened:
            break
        assert state.last_error == "[Errno 5] injected", n
        assert reads.failed
        failed.add(reads.failed.suffix)
    assert failed == {".arrows", ".tmp", ".parquet"}
