"""Disks for the tests of delivery: they work on real files, and fail, die or remember what is synced.

They are doubles of `trio_collector.disk.Disk`, handed to the code under test; nothing is patched.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trio_collector.disk import LocalDisk

CALLS = (
    "create",
    "write",
    "sync",
    "close",
    "make_folder",
    "sync_folder",
    "rename",
    "unlink",
    "link",
    "remove_folder",
    "list_folder",
    "stat",
    "open_file",
    "read",
)


class Killed(BaseException):
    """The process is dead: nothing of it runs any more."""


class WatchedDisk(LocalDisk):
    """A disk that calls `check` with the name and arguments of each of `CALLS` before it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Callable[..., None]] = {}  # called with the arguments of a call
        self.calls: list[tuple[str, Any]] = []  # each with its first argument
        self.read_bytes = 0

    def check(self, call: str, *args: Any) -> None:
        """Note a call; raise if it is to fail."""
        self.calls.append((call, args[0]))
        if call in self.before:
            self.before[call](*args)

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        chunk = super().read(descriptor, size, offset)
        self.read_bytes += len(chunk)
        return chunk

    def note_done(self, call: str, *args: Any) -> None:
        """Note that a call has succeeded."""


def _watched(call: str) -> Callable[..., Any]:
    work = getattr(WatchedDisk, call)

    def watched(self: WatchedDisk, *args: Any, **options: Any) -> Any:
        self.check(call, *args)
        result = work(self, *args, **options)
        self.note_done(call, *args)
        return result

    return watched


for _call in CALLS:
    setattr(WatchedDisk, _call, _watched(_call))


class SyncedDisk(WatchedDisk):
    """A disk that knows what survives a power loss.

    A name survives once its folder was synced after it was made, bytes once their file was synced
    after they were written. What is there at the beginning was synced.
    """

    def __init__(self) -> None:
        super().__init__()
        self._unsynced_names: set[Path] = set()
        self._unsynced_files: set[int] = set()  # their inodes

    def survives(self, path: Path) -> bool:
        """Return whether the file `path` is there, whole, if the power fails now."""
        if not path.exists() or path.stat().st_ino in self._unsynced_files:
            return False
        return self._unsynced_names.isdisjoint([path, *path.parents])

    def note_done(self, call: str, *args: Any) -> None:
        match call:
            case "create" | "make_folder":
                self._unsynced_names.add(args[0])
            case "link" | "rename":
                self._unsynced_names.add(args[1])
            case "write":
                self._unsynced_files.add(os.fstat(args[0]).st_ino)
            case "sync":
                self._unsynced_files.discard(os.fstat(args[0]).st_ino)
            case "sync_folder":
                in_folder = {name for name in self._unsynced_names if name.parent == args[0]}
                self._unsynced_names -= in_folder


class FaultyDisk(SyncedDisk):
    """A disk whose n-th call of one kind fails with an error `code`; with `n` = 0, each does.

    A write that fails takes half of the bytes first, as a disk does that becomes full. Without
    `has_links` it says so of each link, as between two filesystems.
    """

    def __init__(
        self, call: str = "", n: int = -1, code: int = errno.EIO, *, has_links: bool = True
    ) -> None:
        super().__init__()
        self.count = 0  # calls of that kind
        self.injected = 0  # errors
        self._call = call
        self._n = n
        self._code = code
        self._has_links = has_links

    def check(self, call: str, *args: Any) -> None:
        super().check(call, *args)
        if call == self._call:
            self.count += 1
            if self._n in (0, self.count):
                self.injected += 1
                if call == "write":
                    os.write(args[0], args[1][: len(args[1]) // 2])
                raise OSError(self._code, os.strerror(self._code))
        if call == "link" and not self._has_links:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


class DyingDisk(FaultyDisk):
    """A disk of a process that is killed at the n-th call, whatever the call is."""

    def __init__(self, n: int, *, has_links: bool = True) -> None:
        super().__init__(has_links=has_links)
        self._left = n

    @property
    def has_died(self) -> bool:
        return self._left <= 0

    def check(self, call: str, *args: Any) -> None:
        self._left -= 1
        if self.has_died:
            raise Killed
        super().check(call, *args)
