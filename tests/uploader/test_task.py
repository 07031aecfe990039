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
from trio_collector.telemetry import metrics
from trio_collector.threads import Workers
from trio_collector.uploader import task
from trio_collector.uploader.local_archive import move_to_archive
from trio_collector.uploader.spool import SealedFile, Spool
from trio_collector.uploader.task import run_uploader

T = TypeVar("T")

Seal = Callable[..., SealedFile]
Start = Callable[..., "Delivery"]

FIRST_MS = 1_795_348_800_100


class Archive:
    """The archive as the uploader sees it: it fails as often as told, and notes each attempt."""

    def __init__(self) -> None:
        self.failures = 0
        self.attempts: list[tuple[float, str]] = []
        self.kept: list[str] = []
        self._moved = trio.Event()

    def move(self, sealed: SealedFile, archive: Path) -> Path:
        self.attempts.append((trio.current_time(), sealed.path.stem))
        if self.failures:
            self.failures -= 1
            raise OSError("no room")
        path = move_to_archive(sealed, archive)
        self.kept.append(sealed.path.stem)
        self._moved.set()
        self._moved = trio.Event()
        return path

    async def wait_kept(self, count: int) -> None:
        while len(self.kept) < count:
            await self._moved.wait()


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Archive:
    archive = Archive()
    monkeypatch.setattr(task, "move_to_archive", archive.move)
    return archive


class Delivery:
    """An uploader, and the bell that it listens to."""

    def __init__(self, spool: Path, nursery: trio.Nursery, workers: Workers) -> None:
        self._bell, wakeups = trio.open_memory_channel[None](1)
        storage = StorageSection(
            mode="local", data_dir=str(spool), local_path=str(spool.parent / "archive")
        )
        self.ended = trio.Event()
        nursery.start_soon(self._run, storage, wakeups, workers)

    async def _run(
        self,
        storage: StorageSection,
        wakeups: trio.MemoryReceiveChannel[None],
        workers: Workers,
    ) -> None:
        await run_uploader(storage, wakeups, workers=workers)
        self.ended.set()

    async def ring(self) -> None:
        await self._bell.send(None)

    def close(self) -> None:
        self._bell.close()


@pytest.fixture
def start(
    spool: Path,
    nursery: trio.Nursery,
    inline_workers: Workers,
) -> Start:
    """Start an uploader on the virtual clock."""
    return lambda workers=inline_workers: Delivery(spool, nursery, workers)


def queue_depth() -> float | None:
    return metrics.REGISTRY.get_sample_value("collector_upload_queue_depth")


async def test_leftovers_are_delivered_at_the_start(
    spool: Path, seal: Seal, archive: Archive, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """What an earlier process left in the spool goes first, oldest first, without a ring."""
    seal(FIRST_MS + 1)
    seal(FIRST_MS)
    delivery = start()
    await archive.wait_kept(2)
    assert archive.kept == [str(FIRST_MS), str(FIRST_MS + 1)]
    assert not delivery.ended.is_set()
    delivery.close()
    await delivery.ended.wait()
    assert queue_depth() == 0


async def test_ring(
    seal: Seal, archive: Archive, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """A ring makes it look; between rings it sleeps."""
    delivery = start()
    await delivery.ring()
    for number in range(3):
        seal(FIRST_MS + number)
        await delivery.ring()
        await archive.wait_kept(number + 1)
    assert archive.kept == [str(FIRST_MS + number) for number in range(3)]


async def test_last_ring_is_the_end(
    seal: Seal, archive: Archive, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """When the bell is gone it delivers what is there by then and returns."""
    delivery = start()
    await trio.testing.wait_all_tasks_blocked()
    seal(FIRST_MS)
    delivery.close()
    await delivery.ended.wait()
    assert archive.kept == [str(FIRST_MS)]


async def test_file_delivered_while_the_spool_is_surveyed(
    seal: Seal,
    archive: Archive,
    start: Start,
    autojump_clock: trio.testing.MockClock,
    inline_workers: Workers,
) -> None:
    """A file that was seen and is delivered before the look is over does not count as left."""
    is_looking = trio.Event()

    async def disk(work: Callable[[], T], /) -> T:
        if isinstance(work, partial) and work.func == archive.move:
            await is_looking.wait()
        result = await inline_workers.disk(work)
        if isinstance(result, Spool) and not result.front:
            is_looking.set()
            await archive.wait_kept(1)
            await trio.testing.wait_all_tasks_blocked()
        return result

    seal(FIRST_MS)
    with capture_logs() as entries:
        delivery = start(inline_workers._replace(disk=disk))
        await trio.testing.wait_all_tasks_blocked()  # the first look is over
        delivery.close()
        await delivery.ended.wait()
    assert [entry["event"] for entry in entries] == ["file archived"]
    assert queue_depth() == 0


async def test_failures_are_tried_again(
    seal: Seal, archive: Archive, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """A file that cannot be moved stays and is tried again after 1, 2, 4 … s, a quarter off."""
    seal(FIRST_MS)
    archive.failures = 4
    start()
    await archive.wait_kept(1)
    times = [time for time, _name in archive.attempts]
    delays = [after - before for before, after in pairwise(times)]
    assert delays == [pytest.approx(delay, rel=0.26) for delay in (1, 2, 4, 8)]


async def test_delay_starts_over(
    seal: Seal, archive: Archive, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """After everything was delivered the next failure waits for a second again."""
    seal(FIRST_MS)
    archive.failures = 6
    delivery = start()
    await archive.wait_kept(1)
    archive.failures = 1
    seal(FIRST_MS + 1)
    await delivery.ring()
    await archive.wait_kept(2)
    (failed, _name), (kept, _name) = archive.attempts[-2:]
    assert kept - failed == pytest.approx(1, rel=0.26)


async def test_delays_have_an_end(
    seal: Seal, archive: Archive, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """An archive that is away for days is asked every five minutes at most."""
    seal(FIRST_MS)
    archive.failures = 20
    start()
    await archive.wait_kept(1)
    times = [time for time, _name in archive.attempts]
    delays = [after - before for before, after in pairwise(times)]
    assert all(150 <= delay <= 300 for delay in delays[10:])


async def test_one_bad_file_holds_up_no_other(
    seal: Seal, archive: Archive, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """The files behind one that cannot be moved are delivered all the same."""
    seal(FIRST_MS)
    seal(FIRST_MS + 1)
    archive.failures = 1
    start()
    await archive.wait_kept(1)
    assert archive.kept == [str(FIRST_MS + 1)]
    assert queue_depth() == 1


async def test_end_with_files_left(
    spool: Path, seal: Seal, archive: Archive, start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    """At the end each file gets one more try; what stays is told, and there at the next start."""
    sealed = seal(FIRST_MS)
    archive.failures = 100
    with capture_logs() as entries:
        delivery = start()
        delivery.close()
        await delivery.ended.wait()
    assert len(archive.attempts) == 2
    assert sealed.path.exists()
    assert entries[-1]["event"] == "files left in the spool"
    assert entries[-1]["log_level"] == "error"
    archive.failures = 0
    following = start()
    await archive.wait_kept(1)
    following.close()
    await following.ended.wait()
    assert not sealed.path.exists()


async def test_spool_that_cannot_be_listed(
    seal: Seal,
    archive: Archive,
    monkeypatch: pytest.MonkeyPatch,
    start: Start,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An error of the disk while it looks is waited for, like any other."""
    seal(FIRST_MS)
    with monkeypatch.context() as patch, capture_logs() as entries:

        def scan(_folder: Path, _skipped: object) -> Spool:
            patch.undo()
            raise OSError("no answer")

        patch.setattr(task, "survey_spool", scan)
        patch.setattr(task, "move_to_archive", archive.move)
        start()
        await archive.wait_kept(1)
    assert entries[0]["event"] == "folder cannot be listed"
    assert entries[0]["error"] == "no answer"
