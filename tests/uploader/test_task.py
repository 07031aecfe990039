"""The delivery: what is in the spool leaves it, however often that fails."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from trio_collector.config.settings import StorageSection
from trio_collector.disk import Disk, FolderListing, LocalDisk
from trio_collector.telemetry import metrics
from trio_collector.threads import Workers
from trio_collector.uploader.local_archive import LocalArchive
from trio_collector.uploader.spool import SealedFile, Spool
from trio_collector.uploader.task import run_uploader

T = TypeVar("T")

Seal = Callable[..., SealedFile]
Start = Callable[..., "Delivery"]

FIRST_MS = 1_795_348_800_100


class ArchiveDisk(LocalDisk):
    """A disk that notes each move into the archive, and fails as often as told."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.list_failures = 0
        self.attempts: list[tuple[float, str]] = []
        self.kept: list[str] = []
        self._moved = trio.Event()

    def link(self, old: Path, new: Path) -> None:
        self.attempts.append((trio.current_time(), old.stem))
        if self.failures:
            self.failures -= 1
            raise OSError("no room")
        super().link(old, new)

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.kept.append(path.stem)
        self._moved.set()
        self._moved = trio.Event()

    def list_folder(self, path: Path | str) -> FolderListing:
        if self.list_failures:
            self.list_failures -= 1
            raise OSError("no answer")
        return super().list_folder(path)

    async def wait_kept(self, count: int) -> None:
        while len(self.kept) < count:
            await self._moved.wait()


@pytest.fixture
def disk() -> ArchiveDisk:
    return ArchiveDisk()


class Delivery:
    """An uploader, and the channel that wakes it."""

    def __init__(self, spool: Path, nursery: trio.Nursery, workers: Workers, disk: Disk) -> None:
        self._wake_uploader, wakeups = trio.open_memory_channel[None](1)
        storage = StorageSection(
            mode="local", data_dir=str(spool), local_path=str(spool.parent / "archive")
        )
        self.ended = trio.Event()
        nursery.start_soon(self._run, storage, wakeups, workers, disk)

    async def _run(
        self,
        storage: StorageSection,
        wakeups: trio.MemoryReceiveChannel[None],
        workers: Workers,
        disk: Disk,
    ) -> None:
        await run_uploader(storage, wakeups, workers=workers, disk=disk)
        self.ended.set()

    async def wake(self) -> None:
        await self._wake_uploader.send(None)

    def close(self) -> None:
        self._wake_uploader.close()


@pytest.fixture
def start(
    spool: Path,
    nursery: trio.Nursery,
    inline_workers: Workers,
    disk: ArchiveDisk,
) -> Start:
    """Start an uploader on the virtual clock."""
    return lambda workers=inline_workers: Delivery(spool, nursery, workers, disk)


def queue_depth() -> float | None:
    return metrics.REGISTRY.get_sample_value("collector_upload_queue_depth")


async def test_leftovers_are_delivered_at_the_start(
    spool: Path, seal: Seal, disk: ArchiveDisk, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """What an earlier process left in the spool goes first, oldest first, without a wake-up."""
    seal(FIRST_MS + 1)
    seal(FIRST_MS)
    delivery = start()
    await disk.wait_kept(2)
    assert disk.kept == [str(FIRST_MS), str(FIRST_MS + 1)]
    assert not delivery.ended.is_set()
    delivery.close()
    await delivery.ended.wait()
    assert queue_depth() == 0


async def test_wakeup(
    seal: Seal, disk: ArchiveDisk, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """A wake-up makes it look; between wake-ups it sleeps."""
    delivery = start()
    await delivery.wake()
    for number in range(3):
        seal(FIRST_MS + number)
        await delivery.wake()
        await disk.wait_kept(number + 1)
    assert disk.kept == [str(FIRST_MS + number) for number in range(3)]


async def test_end_of_the_wakeups_is_the_end(
    seal: Seal, disk: ArchiveDisk, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """When the wake-ups end it delivers what is there by then and returns."""
    delivery = start()
    await trio.testing.wait_all_tasks_blocked()
    seal(FIRST_MS)
    delivery.close()
    await delivery.ended.wait()
    assert disk.kept == [str(FIRST_MS)]


async def test_file_delivered_while_the_spool_is_scanned(
    seal: Seal,
    disk: ArchiveDisk,
    start: Start,
    autojump_clock: trio.testing.MockClock,
    inline_workers: Workers,
) -> None:
    """A file that was seen and is delivered before the look is over does not count as left."""
    is_looking = trio.Event()

    async def work_slowly(work: Callable[[], T], /) -> T:
        if isinstance(work, partial) and getattr(work.func, "__func__", None) is LocalArchive.move:
            await is_looking.wait()
        result = await inline_workers.disk(work)
        if isinstance(result, Spool) and not result.front:
            is_looking.set()
            await disk.wait_kept(1)
            await trio.testing.wait_all_tasks_blocked()
        return result

    seal(FIRST_MS)
    with capture_logs() as entries:
        delivery = start(inline_workers._replace(disk=work_slowly))
        await trio.testing.wait_all_tasks_blocked()  # the first look is over
        delivery.close()
        await delivery.ended.wait()
    assert [entry["event"] for entry in entries] == ["file archived"]
    assert queue_depth() == 0


async def test_failures_are_tried_again(
    seal: Seal, disk: ArchiveDisk, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """A file that cannot be moved stays and is tried again after 1, 2, 4 … s, a quarter off."""
    seal(FIRST_MS)
    disk.failures = 4
    start()
    await disk.wait_kept(1)
    times = [time for time, _name in disk.attempts]
    delays = [after - before for before, after in pairwise(times)]
    assert delays == [pytest.approx(delay, rel=0.26) for delay in (1, 2, 4, 8)]


async def test_delay_starts_over(
    seal: Seal, disk: ArchiveDisk, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """After everything was delivered the next failure waits for a second again."""
    seal(FIRST_MS)
    disk.failures = 6
    delivery = start()
    await disk.wait_kept(1)
    disk.failures = 1
    seal(FIRST_MS + 1)
    await delivery.wake()
    await disk.wait_kept(2)
    (failed, _name), (kept, _name) = disk.attempts[-2:]
    assert kept - failed == pytest.approx(1, rel=0.26)


async def test_delays_have_an_end(
    seal: Seal, disk: ArchiveDisk, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """An archive that is away for days is asked every five minutes at most."""
    seal(FIRST_MS)
    disk.failures = 20
    start()
    await disk.wait_kept(1)
    times = [time for time, _name in disk.attempts]
    delays = [after - before for before, after in pairwise(times)]
    assert all(150 <= delay <= 300 for delay in delays[10:])


async def test_one_bad_file_holds_up_no_other(
    seal: Seal, disk: ArchiveDisk, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """The files behind one that cannot be moved are delivered all the same."""
    seal(FIRST_MS)
    seal(FIRST_MS + 1)
    disk.failures = 1
    start()
    await disk.wait_kept(1)
    assert disk.kept == [str(FIRST_MS + 1)]
    assert queue_depth() == 1


async def test_end_with_files_left(
    spool: Path, seal: Seal, disk: ArchiveDisk, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """At the end each file gets one more try; what stays is told, and there at the next start."""
    sealed = seal(FIRST_MS)
    disk.failures = 100
    with capture_logs() as entries:
        delivery = start()
        delivery.close()
        await delivery.ended.wait()
    assert len(disk.attempts) == 2
    assert sealed.path.exists()
    assert entries[-1]["event"] == "files left in the spool"
    assert entries[-1]["log_level"] == "error"
    disk.failures = 0
    following = start()
    await disk.wait_kept(1)
    following.close()
    await following.ended.wait()
    assert not sealed.path.exists()


async def test_spool_that_cannot_be_listed(
    seal: Seal, disk: ArchiveDisk, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """An error of the disk while it looks is waited for, like any other."""
    seal(FIRST_MS)
    disk.list_failures = 2  # tidying up, which says nothing of it, and looking
    with capture_logs() as entries:
        start()
        await disk.wait_kept(1)
    assert entries[0]["event"] == "folder cannot be listed"
    assert entries[0]["error"] == "no answer"
    assert disk.list_failures == 0
    assert trio.current_time() == pytest.approx(1, rel=0.26)
