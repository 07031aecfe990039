"""The disk fails at any single call of delivery: nothing is removed too early, nothing forgotten."""

import errno
import io
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.support.delivery_disk import FaultyDisk
from trio_collector.config.settings import StorageSection
from trio_collector.telemetry.storage_state import DeliveryState
from trio_collector.threads import Workers
from trio_collector.uploader.task import run_uploader

FIRST_MS = 1_795_348_800_100
ERRORS = [errno.ENOSPC, errno.EIO]

# The calls of one kind that fail, one at a time: all that the first files make, and some of many.
FAILING = [*range(1, 13), 20, 35, 50]

# Longer than a disk that has failed once is left alone, and then than it takes to look again.
PATIENCE_S = 60.0

READS = ["open_file", "read", "close"]
COPIES = ["create", "write", "sync", "rename"]


class Way(NamedTuple):
    """Where files go, and whether the archive is on the filesystem of the spool."""

    mode: Any
    has_links: bool = True

    @property
    def calls(self) -> list[str]:
        """The kinds of calls that are made on this way."""
        calls = ["unlink", "stat", "list_folder"]
        if self.mode != "s3":
            calls += ["make_folder", "sync_folder", *(["link"] if self.has_links else COPIES)]
        return calls + READS * (self.mode != "local" or not self.has_links)

    def __str__(self) -> str:
        return self.mode if self.has_links else f"{self.mode}, copied"


WAYS = [Way("local"), Way("local", has_links=False), Way("s3"), Way("both")]
CASES = [pytest.param(way, call, id=f"{way}-{call}") for way in WAYS for call in way.calls]


class Delivery:
    """Some files on their way; of each it is known where it has to be before it is removed."""

    def __init__(
        self, root: Path, way: Way, files: int, in_folder: int, store: Any, workers: Workers
    ) -> None:
        self.spool, self.archive = root / "spool", root / "archive"
        self.store = store
        self.state = DeliveryState()
        self._way = way
        self._workers = workers
        self.contents = {
            f"okx/s{n // in_folder}/trade/2026-11-22/{FIRST_MS + n}.parquet": b"rows %d" % n
            for n in range(files)
        }
        for key, body in self.contents.items():
            path = self.spool / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)

    async def run(self, disk: FaultyDisk) -> int:
        """Deliver for `PATIENCE_S`, then end; return how many files were left before the end."""
        disk.before["unlink"] = partial(self._judge, disk)
        storage = StorageSection(
            mode=self._way.mode, data_dir=str(self.spool), local_path=str(self.archive)
        )
        wake_uploader, wakeups = trio.open_memory_channel[None](1)
        store = None if self._way.mode == "local" else self.store
        upload = partial(
            run_uploader, store=store, state=self.state, workers=self._workers, disk=disk
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload, storage, wakeups)
            with wake_uploader:
                await trio.sleep(PATIENCE_S)
                return sum(os.access(self.spool / key, os.F_OK) for key in self.contents)

    def assert_done(self) -> None:
        """Check that each file is where it belongs, under its own name, and nothing anywhere else."""
        assert contents_of(self.spool) == {}
        assert contents_of(self.archive) == ({} if self._way.mode == "s3" else self.contents)
        assert self.store.objects == ({} if self._way.mode == "local" else self.contents)
        assert (self.state.waiting_files, self.state.failures) == (0, 0)

    def _judge(self, disk: FaultyDisk, path: Path) -> None:
        """Check that a file may be removed: it is where it has to be, also if the power fails."""
        if not path.is_relative_to(self.spool):
            return  # half a copy, in the archive
        key = path.relative_to(self.spool).as_posix()
        body = self.contents[key]
        if self._way.mode != "local":
            assert self.store.objects.get(key) == body, f"{key} is removed, the store lacks it"
        if self._way.mode != "s3":
            assert read(self.archive / key) == body, f"{key} is removed, the archive lacks it"
            assert disk.survives(self.archive / key), f"{key} is removed, its copy is not synced"


def read(path: Path) -> bytes | None:
    """Return what is in a file, by no call that may be made to fail."""
    if not os.access(path, os.F_OK):
        return None
    with io.FileIO(path) as file:
        return file.readall()


def contents_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


Deliver = Callable[[Path, Way, int, int], Delivery]


@pytest.fixture
def deliver(memory_store: Any, inline_workers: Workers) -> Deliver:
    """Put some files into a spool below a folder, to be delivered."""

    def prepare(root: Path, way: Way, files: int, in_folder: int) -> Delivery:
        memory_store.objects.clear()
        return Delivery(root, way, files, in_folder, memory_store, inline_workers)

    return prepare


@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize(("way", "call"), CASES)
async def test_one_error(
    way: Way, call: str, code: int, tmp_path: Path, deliver: Deliver, autojump_clock: MockClock
) -> None:
    """One error of the disk, at the first call or at the fiftieth, is told and mends itself."""
    in_folder = 2 if call in ("make_folder", "list_folder") else 10
    for n in FAILING:
        delivery = deliver(tmp_path / str(n), way, n, in_folder)
        disk = FaultyDisk(call, n, code, has_links=way.has_links)
        with capture_logs() as entries:
            left = await delivery.run(disk)
        assert disk.injected == 1, n
        assert left == 0, n
        delivery.assert_done()
        errors = [each["event"] for each in entries if each["log_level"] == "error"]
        assert errors in TOLD.get(call, [["file not moved"]]), n
        shutil.rmtree(tmp_path / str(n))


TOLD = {
    # Tidying up looks into folders as well, and says nothing if it cannot.
    "list_folder": [["folder cannot be listed"], []],
    "stat": [["folder cannot be listed"], ["file not moved"]],
}


@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize(("way", "call"), CASES)
async def test_every_call_fails(
    way: Way, call: str, code: int, tmp_path: Path, deliver: Deliver, autojump_clock: MockClock
) -> None:
    """While the disk fails for good every file stays, and the next start delivers it."""
    delivery = deliver(tmp_path, way, 10, 2)
    disk = FaultyDisk(call, 0, code, has_links=way.has_links)
    with capture_logs() as entries:
        left = await delivery.run(disk)
    assert disk.injected > 0
    assert left == 10
    assert {key: read(delivery.spool / key) for key in delivery.contents} == delivery.contents
    assert "error" in [each["log_level"] for each in entries]
    assert await delivery.run(FaultyDisk(has_links=way.has_links)) == 0
    delivery.assert_done()


async def test_disk_that_fails_while_it_looks_for_a_file(
    tmp_path: Path, deliver: Deliver, autojump_clock: MockClock
) -> None:
    """A file that may be gone or not stays on the list: an error of the disk is not raised."""

    class Disk(FaultyDisk):
        """A disk that says of one link that the file is not there, and then fails to look."""

        def link(self, old: Path, new: Path) -> None:
            if not self.injected:
                self.injected = 1
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            super().link(old, new)

        def stat(self, path: Path | str, *, follows_links: bool = True) -> os.stat_result:
            if self.injected == 1 and follows_links:
                self.injected = 2
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().stat(path, follows_links=follows_links)

    disk = Disk()
    delivery = deliver(tmp_path, Way("local"), 3, 3)
    assert await delivery.run(disk) == 0
    assert disk.injected == 2
    delivery.assert_done()
