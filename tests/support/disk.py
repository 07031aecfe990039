"""Disks that fail: doubles of `trio_collector.disk` that work on real files, for the tests of any room.

`WatchedDisk` shows each call to `check` before it is made. What `check` raises is what the call
raises; the other doubles differ in their `check` alone. `FailingReads` does the same for reads,
which do not pass through `Disk`.
"""

import errno
import io
import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trio_collector.disk import LOCAL_DISK, LocalDisk

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


class WatchedDisk(LocalDisk):
    """A disk that calls `check` before each of its calls.

    Where `check` returns True for a write, the disk takes the first half of the bytes and raises
    what `failure` holds, as a disk does that becomes full.
    """

    failure: BaseException | None = None

    def __init__(self) -> None:
        super().__init__()
        self.descriptors: set[int] = set()  # that are open

    def check(self, call: str) -> bool:
        """Look at `call`; raise if it is to fail."""
        raise NotImplementedError

    def close_all(self) -> None:
        """Close what is open, as the kernel does when a process dies."""
        while self.descriptors:
            os.close(self.descriptors.pop())

    def create(self, path: Path) -> int:
        self.check("create")
        return self._opened(super().create(path))

    def _opened(self, descriptor: int) -> int:
        self.descriptors.add(descriptor)
        return descriptor

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        if self.check("write"):
            super().write(descriptor, memoryview(content)[: len(content) // 2])
            raise self.failure or Killed
        return super().write(descriptor, content)

    def sync(self, descriptor: int) -> None:
        self.check("sync")
        super().sync(descriptor)

    def sync_all(self, descriptor: int) -> None:
        self.check("sync_all")
        super().sync_all(descriptor)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)  # even a close that fails gives the descriptor back
        self.descriptors.discard(descriptor)
        self.check("close")

    def open_folder(self, path: Path) -> int:
        self.check("open_folder")
        return self._opened(super().open_folder(path))

    def make_folder(self, path: Path) -> None:
        self.check("make_folder")
        super().make_folder(path)

    def sync_folder(self, path: Path) -> None:
        self.check("sync_folder")
        LOCAL_DISK.sync_folder(path)  # one call, though it opens and closes a descriptor

    def rename(self, old: Path, new: Path) -> None:
        self.check("rename")
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self.check("unlink")
        super().unlink(path)

    def free_bytes(self, path: Path) -> int:
        self.check("free_bytes")
        return super().free_bytes(path)


class FaultyDisk(WatchedDisk):
    """A disk whose n-th call of `calls` fails with `failure`.

    Without a `failure` the process dies there: every call from then on raises `Killed`.
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
        """Whether the n-th call was reached. A test that injects one error asserts it."""
        return self.count >= self.n

    def check(self, call: str) -> bool:
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


class ShortDisk(FaultyDisk):
    """A disk whose n-th write takes half of what it was given and reports no error."""

    def __init__(self, n: int) -> None:
        super().__init__(n, ["write"], OSError())

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        if self.check("write"):
            return LocalDisk.write(self, descriptor, memoryview(content)[: len(content) // 2])
        return LocalDisk.write(self, descriptor, content)


class BrokenDisk(WatchedDisk):
    """A disk on which one kind of call fails for good."""

    def __init__(self, call: str, failure: OSError) -> None:
        super().__init__()
        self.call = call
        self.failure = failure

    def check(self, call: str) -> bool:
        if call != self.call:
            return False
        if call == "write":
            return True
        assert self.failure
        raise self.failure


class FlakyDisk(WatchedDisk):
    """A disk on which any call may fail, by the dice."""

    def __init__(self, seed: int, share: float) -> None:
        super().__init__()
        self.dice = random.Random(seed)
        self.share = share

    def check(self, call: str) -> bool:
        if self.dice.random() >= self.share:
            return False
        self.failure = OSError(self.dice.choice([errno.ENOSPC, errno.EIO]), "injected")
        if call == "write":
            return True
        raise self.failure


class FailingReads:
    """Lets the n-th open or read of a file below `root` fail with EIO.

    It counts `os.open` for reading, `os.pread`, and `Path.open` with what is read of that file.
    """

    def __init__(self, root: Path, n: int) -> None:
        self.root = root
        self.n = n
        self.count = 0
        self.failed: Path | None = None
        self._paths: dict[int, Path] = {}  # of the descriptors that were opened for reading

    @property
    def has_happened(self) -> bool:
        return self.count >= self.n

    def check(self, path: Path) -> None:
        """Count a read of `path`; raise if it is to fail."""
        if self.root not in path.parents:
            return
        self.count += 1
        if self.count == self.n:
            self.failed = path
            raise OSError(errno.EIO, "injected")

    @contextmanager
    def injected(self) -> Iterator[None]:
        """Inject the error within the block."""
        os_open, pread, path_open = os.open, os.pread, Path.open

        def open_(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            is_read = flags & os.O_ACCMODE == os.O_RDONLY and not flags & os.O_DIRECTORY
            if is_read:
                self.check(Path(path))
            descriptor = os_open(path, flags, *rest, **more)
            if is_read:
                self._paths[descriptor] = Path(path)
            return descriptor

        def read(descriptor: int, size_bytes: int, start: int) -> bytes:
            if descriptor in self._paths:
                self.check(self._paths[descriptor])
            return pread(descriptor, size_bytes, start)

        def open_path(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
            if mode != "rb":
                return path_open(path, mode, *rest, **more)
            self.check(path)
            return _ReadFile(path, self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", open_)
            patch.setattr(os, "pread", read)
            patch.setattr(Path, "open", open_path)
            yield


class _ReadFile(io.BufferedReader):
    """A file whose reads are counted."""

    def __init__(self, path: Path, reads: FailingReads) -> None:
        super().__init__(io.FileIO(path))
        self._path = path
        self._reads = reads

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads.check(self._path)
        return super().read(size)


@contextmanager
def no_descriptor_leaks() -> Iterator[None]:
    """Fail if what runs in the block leaves a descriptor open that it opened."""
    before = open_descriptors()
    yield
    left = open_descriptors() - before
    assert not left, f"descriptors left open: {sorted(left)}"


def open_descriptors() -> set[tuple[int, str]]:
    """Return the descriptors of regular files and folders that are open, and what they lead to."""
    if sys.platform != "linux":
        return set()
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # the one that lists the folder
            continue
        if target.startswith("/") and not target.startswith(("/dev/", "/proc/")):
            found.add((int(entry.name), target))
    return found
