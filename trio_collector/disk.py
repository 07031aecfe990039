"""Every call that changes the disk, in one place, so that tests can let any of them fail.

A call either does its work or raises OSError. Three facts of Linux are relied upon:

* `write(2)` that fails has written nothing; on a full disk it first writes *less* than asked,
  without an error, so the caller of `write` compares the count.
* A sync that failed must not be tried again: the kernel has marked the pages clean, and the next
  call reports success (https://wiki.postgresql.org/wiki/Fsync_Errors).
* `syncfs` reports write-back errors since its descriptor was opened (since Linux 5.8), so one
  descriptor is kept open for it. It syncs folders too. Measured with 200 dirty files: 4-17 ms for
  one `syncfs`, 212-367 ms for 200 `fdatasync`.
"""

import ctypes
import os
import sys
from pathlib import Path
from typing import Protocol

FILE_MODE = 0o600
FOLDER_MODE = 0o700


class Disk(Protocol):
    """The calls that change a disk. Each may raise OSError."""

    @property
    def has_group_sync(self) -> bool:
        """Whether `sync_all` works here."""
        ...

    def create(self, path: Path) -> int:
        """Create the file `path`, which must not exist, and return a descriptor to write on."""
        ...

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        """Write `content` in one call and return how many bytes were taken."""
        ...

    def sync(self, descriptor: int) -> None:
        """Return when the bytes written on `descriptor` survive a power loss."""
        ...

    def sync_all(self, descriptor: int) -> None:
        """Sync the whole filesystem of an open folder."""
        ...

    def close(self, descriptor: int) -> None: ...

    def open_folder(self, path: Path) -> int: ...

    def make_folder(self, path: Path) -> None:
        """Create one folder, which must not exist."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Return when the names in the folder `path` survive a power loss."""
        ...

    def rename(self, old: Path, new: Path) -> None: ...

    def unlink(self, path: Path) -> None: ...

    def free_bytes(self, path: Path) -> int:
        """Return how many bytes this user may still write on the filesystem of `path`."""
        ...


class LocalDisk:
    """The disk of this machine."""

    def __init__(self) -> None:
        self._syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)

    @property
    def has_group_sync(self) -> bool:
        return self._syncfs is not None

    def create(self, path: Path) -> int:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE)

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        return os.write(descriptor, content)

    def sync(self, descriptor: int) -> None:
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync stops at the drive's cache there
        else:
            os.fdatasync(descriptor)

    def sync_all(self, descriptor: int) -> None:
        if self._syncfs is None:
            raise NotImplementedError("only Linux has syncfs")
        if self._syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def open_folder(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def make_folder(self, path: Path) -> None:
        path.mkdir(FOLDER_MODE)

    def sync_folder(self, path: Path) -> None:
        descriptor = self.open_folder(path)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def free_bytes(self, path: Path) -> int:
        facts = os.statvfs(path)
        return facts.f_bavail * facts.f_frsize


LOCAL_DISK = LocalDisk()


def make_folders(disk: Disk, folder: Path, changed: set[Path]) -> None:
    """Create `folder` and what is missing above it. Raises OSError.

    The folders in which a name was created are added to `changed`; they have to be synced.
    """
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        try:
            disk.make_folder(path)
        except FileExistsError:
            continue
        changed.add(path.parent)
