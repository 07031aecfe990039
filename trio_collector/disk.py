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
from typing import NamedTuple, Protocol

FILE_MODE = 0o600
FOLDER_MODE = 0o700


class FolderListing(NamedTuple):
    """The names in a folder: of its folders, and of all else, symbolic links included."""

    folders: list[str]
    files: list[str]


class Disk(Protocol):
    """What writer and uploader do to a disk. Each call may raise OSError."""

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

    def link(self, old: Path, new: Path) -> None:
        """Give the file `old` a second name, which must be free."""
        ...

    def remove_folder(self, path: Path) -> None:
        """Remove a folder, which must be empty."""
        ...

    def list_folder(self, path: Path | str) -> FolderListing: ...

    def stat(self, path: Path | str, *, follows_links: bool = True) -> os.stat_result: ...

    def open_file(self, path: Path) -> int:
        """Return a descriptor to read the file `path` on."""
        ...

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset` on; none at the end of the file."""
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

    def link(self, old: Path, new: Path) -> None:
        new.hardlink_to(old)

    def remove_folder(self, path: Path) -> None:
        path.rmdir()

    def list_folder(self, path: Path | str) -> FolderListing:
        listing = FolderListing([], [])
        with os.scandir(path) as entries:
            for entry in entries:
                names = listing.folders if entry.is_dir(follow_symlinks=False) else listing.files
                names.append(entry.name)
        return listing

    def stat(self, path: Path | str, *, follows_links: bool = True) -> os.stat_result:
        # A scan of the spool passes strings, because it would take twice as long with paths.
        return os.stat(path, follow_symlinks=follows_links)  # noqa: PTH116 - see above

    def open_file(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        return os.pread(descriptor, size, offset)


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
