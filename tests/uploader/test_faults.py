"""The disk fails at any single call of delivery: nothing is removed too early, nothing forgotten."""

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from trio_collector.config.settings import StorageSection
from trio_collector.telemetry.storage_state import DeliveryState
from trio_collector.threads import Workers
from trio_collector.uploader.task import run_uploader

FIRST_MS = 1_795_348_800_100
ERRORS = [errno.ENOSPC, errno.EIO]

# At least; of all other kinds there is one. Folders are made and listed three for each symbol.
CALLS_FOR_A_FILE = {"stat": 2, "read": 3}

# Longer than a disk that has failed once is left alone, and then than it takes to look again.
PATIENCE_S = 60.0

# Each kind of call, and by what names Python makes it. Files that Python opens: see FaultyFile.
CALLS = {
    "unlink": ["unlink"],
    "rename": ["rename", "replace"],
    "link": ["link"],
    "mkdir": ["mkdir"],
    "fsync": ["fsync"],
    "open": ["open"],
    "read": ["pread"],
    "write": [],
    "stat": ["stat", "lstat"],
    "list": ["scandir"],
}


class Way(NamedTuple):
    """Where files go, and whether the archive is on the filesystem of the spool."""

    mode: Any
    has_links: bool = True

    @property
    def calls(self) -> list[str]:
        """The kinds of calls that are made on this way."""
        calls = ["unlink", "open", "stat", "list"]
        if self.mode != "s3":
            calls += ["mkdir", "fsync", *(["link"] if self.has_links else ["write", "rename"])]
        return calls + ["read"] * (self.mode != "local" or not self.has_links)

    def __str__(self) -> str:
        return self.mode if self.has_links else f"{self.mode}, copied"


WAYS = [Way("local"), Way("local", has_links=False), Way("s3"), Way("both")]
CASES = [pytest.param(way, call, id=f"{way}-{call}") for way in WAYS for call in way.calls]


class FaultyFile(io.FileIO):
    """A file as Python opens it, whose reads and writes may fail."""

    check: Callable[[str], None]

    def readinto(self, buffer: Any, /) -> int:
        self.check("read")
        return super().readinto(buffer)

    def write(self, content: Any, /) -> int:
        self.check("write")
        return super().write(content)


class FaultyDisk:
    """The system's calls on what is below `root`: the n-th of one kind fails; with 0, each does.

    `judge` is told of each file of the spool that is about to be removed.
    """

    def __init__(self, root: Path, call: str = "", n: int = -1, code: int = 0) -> None:
        self.root = str(root)
        self.judge: Callable[[Path], None] = lambda _path: None
        self.count = 0
        self._call = call
        self._n = n
        self._code = code

    @contextmanager
    def installed(self, *, has_links: bool) -> Iterator[None]:
        """Let all of this process have this disk."""
        with pytest.MonkeyPatch.context() as patch:
            for call, names in CALLS.items():
                for name in names:
                    patch.setattr(os, name, self._checked(call, getattr(os, name)))
            if not has_links:
                patch.setattr(os, "link", no_link)
            patch.setattr(os, "unlink", self._judged(os.unlink))
            patch.setattr(os, "fsync", self._checked("fsync", no_sync))
            patch.setattr(io, "open", partial(self._open, io.open))
            yield

    def check(self, call: str) -> None:
        """Count `call`; raise if it is its turn to fail."""
        if call == self._call:
            self.count += 1
            if self._n in (0, self.count):
                raise OSError(self._code, os.strerror(self._code))

    def _checked(self, call: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def checked(place: Any, *rest: Any, **options: Any) -> Any:
            if self._is_ours(place):
                self.check(call)
            return work(place, *rest, **options)

        return checked

    def _judged(self, unlink: Callable[..., Any]) -> Callable[..., Any]:
        def judged(path: Any, *rest: Any, **options: Any) -> None:
            if self._is_ours(path):
                self.judge(Path(path))
            unlink(path, *rest, **options)

        return judged

    def _open(
        self, open_file: Callable[..., Any], path: Any, mode: str, buffering: int, *rest: Any
    ) -> Any:
        if not self._is_ours(path):
            return open_file(path, mode, buffering, *rest)
        self.check("open")
        file = FaultyFile(path, mode)
        file.check = self.check
        if buffering == 0:
            return file
        return io.BufferedReader(file) if mode == "rb" else io.BufferedWriter(file)

    def _is_ours(self, place: Any) -> bool:
        return isinstance(place, int) or os.fspath(place).startswith(self.root)


def no_sync(_descriptor: int) -> None:
    """Take no time, for thousands of files are delivered here."""


def no_link(_source: Path, _target: Path) -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


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
        disk.judge = self._judge
        storage = StorageSection(
            mode=self._way.mode, data_dir=str(self.spool), local_path=str(self.archive)
        )
        wake_uploader, wakeups = trio.open_memory_channel[None](1)
        store = None if self._way.mode == "local" else self.store
        upload = partial(run_uploader, store=store, state=self.state, workers=self._workers)
        with disk.installed(has_links=self._way.has_links):
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

    def _judge(self, path: Path) -> None:
        key = path.relative_to(self.spool).as_posix()
        body = self.contents[key]
        if self._way.mode != "local":
            assert self.store.objects.get(key) == body, f"{key} is removed, the store lacks it"
        if self._way.mode != "s3":
            assert read(self.archive / key) == body, f"{key} is removed, the archive lacks it"


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
    for n in range(1, 51):
        files = -(-n // CALLS_FOR_A_FILE.get(call, 1))
        in_folder = 2 if call in ("mkdir", "list") else 10
        delivery = deliver(tmp_path / str(n), way, files, in_folder)
        disk = FaultyDisk(tmp_path, call, n, code)
        with capture_logs() as entries:
            left = await delivery.run(disk)
        assert disk.count >= n
        assert left == 0, n
        delivery.assert_done()
        errors = [each["event"] for each in entries if each["log_level"] == "error"]
        assert errors in TOLD[call], n
        shutil.rmtree(tmp_path / str(n))  # of 58 tests they are 100,000 files


TOLD = {call: [["file not moved"]] for call in CALLS}
# Tidying up looks into folders as well, and says nothing if it cannot.
TOLD["list"] = [["folder cannot be listed"], []]
TOLD["stat"] = [["folder cannot be listed"], ["file not moved"], []]


@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize(("way", "call"), CASES)
async def test_every_call_fails(
    way: Way, call: str, code: int, tmp_path: Path, deliver: Deliver, autojump_clock: MockClock
) -> None:
    """While the disk fails for good every file stays, and the next start delivers it."""
    delivery = deliver(tmp_path, way, 10, 2)
    with capture_logs() as entries:
        left = await delivery.run(FaultyDisk(tmp_path, call, 0, code))
    assert left == 10
    assert {key: read(delivery.spool / key) for key in delivery.contents} == delivery.contents
    assert "error" in [each["log_level"] for each in entries]
    assert await delivery.run(FaultyDisk(tmp_path)) == 0
    delivery.assert_done()
