"""The disk fails, or the process dies, at every single call: every row is in exactly one file."""

import errno
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from trio_collector.disk import LocalDisk
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.journal_reader import JournalState, inspect_journal, open_journal
from trio_collector.telemetry import metrics

RunOnce = Callable[..., Awaitable[int]]
MakeBatch = Callable[..., Batch]
SealedFrames = Callable[[Path], list[bytes]]

CALLS = (
    "create",
    "write",
    "sync",
    "sync_all",
    "close",
    "open_folder",
    "make_folder",
    "sync_folder",
    "rename",
    "unlink",
    "free_bytes",
)


class Killed(BaseException):
    """The process is dead: nothing of it runs any more."""


class FaultyDisk(LocalDisk):
    """A disk that fails at the n-th of some calls, or is never reached again from then on.

    A write that fails takes a part of the bytes first, as a disk does that is full.
    """

    def __init__(
        self, n: int, calls: Sequence[str] = CALLS, failure: BaseException | None = None
    ) -> None:
        super().__init__()
        self.n = n
        self.calls = calls
        self.failure = failure
        self.count = 0
        self.is_dead = False

    @property
    def has_happened(self) -> bool:
        return self.count >= self.n

    def check(self, call: str) -> bool:
        """Count `call`; raise if it is its turn to fail."""
        if self.is_dead:
            raise Killed
        if call not in self.calls:
            return False
        self.count += 1
        if self.count != self.n:
            return False
        self.is_dead = self.failure is None
        if call == "write":
            return True
        raise self.failure or Killed

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        if self.check("write"):
            super().write(descriptor, memoryview(content)[: len(content) // 2])
            raise self.failure or Killed
        return super().write(descriptor, content)

    def create(self, path: Path) -> int:
        self.check("create")
        return super().create(path)

    def sync(self, descriptor: int) -> None:
        self.check("sync")
        super().sync(descriptor)

    def sync_all(self, descriptor: int) -> None:
        self.check("sync_all")
        super().sync_all(descriptor)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)  # even a close that fails gives the descriptor back
        self.check("close")

    def open_folder(self, path: Path) -> int:
        self.check("open_folder")
        return super().open_folder(path)

    def make_folder(self, path: Path) -> None:
        self.check("make_folder")
        super().make_folder(path)

    def sync_folder(self, path: Path) -> None:
        self.check("sync_folder")
        super().sync_folder(path)

    def rename(self, old: Path, new: Path) -> None:
        self.check("rename")
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self.check("unlink")
        super().unlink(path)

    def free_bytes(self, path: Path) -> int:
        self.check("free_bytes")
        return super().free_bytes(path)


class ShortDisk(FaultyDisk):
    """A disk whose n-th write takes less than it was given, and says so without an error."""

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        if self.check("write"):
            return LocalDisk.write(self, descriptor, memoryview(content)[: len(content) // 2])
        return LocalDisk.write(self, descriptor, content)


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


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("n", range(1, 51))
@pytest.mark.parametrize(
    "call", ["create", "write", "sync", "make_folder", "sync_folder", "rename", "unlink", "close"]
)
async def test_one_error(
    tmp_path: Path,
    batches: list[Batch],
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    ledger: Callable[[Path], list[str]],
    autojump_clock: Any,
    call: str,
    n: int,
    code: int,
) -> None:
    """One error of the disk loses no row, doubles none, and holds no byte of the budget."""
    disk = FaultyDisk(n, [call], OSError(code, "injected"))
    assert await run_once(tmp_path, batches, disk) == 0
    assert sorted(sealed_frames(tmp_path)) == frames_of(batches)
    assert leftovers(tmp_path) == []
    assert ledger(tmp_path) == []


@pytest.mark.parametrize("n", range(1, 51))
async def test_a_short_write(
    tmp_path: Path,
    batches: list[Batch],
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    autojump_clock: Any,
    n: int,
) -> None:
    """A write that takes less than it was given, without an error, is an error."""
    assert await run_once(tmp_path, batches, ShortDisk(n, ["write"], OSError())) == 0
    assert sorted(sealed_frames(tmp_path)) == frames_of(batches)
    assert leftovers(tmp_path) == []


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

    class BadDisk(FaultyDisk):
        def check(self, called: str) -> bool:
            if called == call:
                raise OSError(code, "injected")
            return False

    assert await run_once(tmp_path, batches, BadDisk(0)) == 0
    assert await run_once(tmp_path, []) == 0
    assert sorted(sealed_frames(tmp_path)) == frames_of(batches)
    assert leftovers(tmp_path) == []


class FlakyDisk(FaultyDisk):
    """A disk on which any call may fail, by the dice."""

    def __init__(self, seed: int, share: float) -> None:
        super().__init__(0)
        self.dice = random.Random(seed)
        self.share = share

    def check(self, call: str) -> bool:
        if self.dice.random() >= self.share:
            return False
        self.failure = OSError(self.dice.choice([errno.ENOSPC, errno.EIO]), "injected")
        if call == "write":
            return True
        raise self.failure


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
    before = dropped._value.get()
    assert await run_once(tmp_path, batches, FlakyDisk(seed, 0.02 + seed % 5 / 10)) == 0
    assert await run_once(tmp_path, [], FlakyDisk(seed + 1000, 0.2)) == 0
    assert await run_once(tmp_path, []) == 0
    found = sealed_frames(tmp_path)
    assert len(set(found)) == len(found)
    assert len(found) + dropped._value.get() - before == len(frames_of(batches))
    assert set(found) <= set(frames_of(batches))
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "quarantine").exists()


async def test_a_kill_between_any_two_calls(
    tmp_path: Path,
    batches: list[Batch],
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    autojump_clock: Any,
) -> None:
    """Whatever call a kill comes before, after a restart each journaled row is in exactly one file."""
    for n in range(1, 1000):
        root = tmp_path / str(n)
        root.mkdir()
        disk = FaultyDisk(n)
        try:
            await run_once(root, batches, disk)
        except* Killed:
            pass
        before = Counter(journaled(root))
        sealed = Counter(sealed_frames(root))
        await run_once(root, [])
        found = Counter(sealed_frames(root))
        assert found == before | sealed, n
        assert max(found.values(), default=1) == 1, n
        assert leftovers(root) == [], n
        assert not (root / "quarantine").exists(), n
        if not disk.is_dead:
            assert found == Counter(frames_of(batches))
            return
    raise AssertionError("the run has no end")


async def test_a_kill_during_recovery(
    tmp_path: Path,
    batches: list[Batch],
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    autojump_clock: Any,
) -> None:
    """A recovery that is killed anywhere, and the one after it as well, loses and doubles nothing."""
    for n in range(1, 1000):
        root = tmp_path / str(n)
        root.mkdir()
        await run_until_sealing(run_once, root, batches)
        before = Counter(journaled(root))
        assert before == Counter(frames_of(batches))
        disk = FaultyDisk(n)
        for seconds in (disk, FaultyDisk(max(1, n // 2))):
            try:
                await run_once(root, [], seconds)
            except* Killed:
                pass
        await run_once(root, [])
        assert Counter(sealed_frames(root)) == before, n
        assert leftovers(root) == [], n
        if not disk.is_dead:
            return
    raise AssertionError("the run has no end")


async def run_until_sealing(run_once: RunOnce, root: Path, batches: Sequence[Batch]) -> None:
    """Leave all rows in journals behind: the process dies at its first seal."""
    try:
        await run_once(root, batches, FaultyDisk(1, ["rename"]))
    except* Killed:
        pass
