"""The archive on this machine: `local_path`, with the keys of the store as its paths.

    link (or copy, sync, rename) ─▶ sync the folders with new names ─▶ unlink in the spool

A file is at every moment in the spool or whole in the archive, also after a power loss, and never
overwrites another. It is copied, under a temporary name first, where spool and archive are on
different filesystems or links are not supported. A process that dies in between leaves the file in
both places. The next attempt finds it in the archive, compares, and removes it from the spool.
"""

import errno
import hashlib
from pathlib import Path

from trio_collector import layout
from trio_collector.disk import LOCAL_DISK, Disk, make_folders
from trio_collector.store.body import CHUNK_BYTES
from trio_collector.store.digest import Part
from trio_collector.store.local_file import hash_part
from trio_collector.uploader.spool import SealedFile, next_millisecond

# The errors of link(2) where a link is impossible: another filesystem, or one without links.
NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


class LocalArchive:
    """The folder `root` of an archive. Its methods block and may run in several threads at a time."""

    def __init__(self, root: Path, disk: Disk = LOCAL_DISK) -> None:
        self._root = root
        self._disk = disk
        self._unsynced: set[Path] = set()  # folders with new names, left by failed attempts

    def move(self, sealed: SealedFile) -> Path:
        """Move `sealed` into the archive and return where it is now.

        A name that another file has moves on to the next free millisecond. Raises OSError and
        DiskError; the file is then still in the spool.
        """
        changed = set(self._unsynced)
        try:
            target = self._place(sealed, changed)
            for folder in sorted(changed):
                self._disk.sync_folder(folder)
        finally:
            self._unsynced |= changed
        self._unsynced -= changed
        self._disk.unlink(sealed.path)
        return target

    def _place(self, sealed: SealedFile, changed: set[Path]) -> Path:
        """Bring the file under a name in the archive; add folders with new names to `changed`."""
        target = self._root / sealed.key
        make_folders(self._disk, target.parent, changed)
        while not self._link(sealed.path, target):
            if self._have_same_content(sealed.path, target):
                break
            target = next_millisecond(target)
        changed.add(target.parent)
        return target

    def _link(self, source: Path, target: Path) -> bool:
        """Make `target` the same file as `source`; False if the name is taken."""
        try:
            self._disk.link(source, target)
        except FileExistsError:
            return False
        except OSError as exc:
            if exc.errno not in NO_LINK:
                raise
            return self._copy(source, target)
        return True

    def _copy(self, source: Path, target: Path) -> bool:
        """Copy `source` to `target` by way of a temporary name; False if the name is taken."""
        if target.exists():
            return False
        temporary = target.with_suffix(layout.TEMPORARY)
        copy_file(source, temporary, self._disk)
        self._disk.rename(temporary, target)
        return True

    def _have_same_content(self, one: Path, other: Path) -> bool:
        size = self._disk.stat(one).st_size
        if size != self._disk.stat(other).st_size:
            return False
        return self._hash(one, size) == self._hash(other, size)

    def _hash(self, path: Path, size: int) -> bytes:
        return hash_part(path, Part(1, 0, size), hashlib.sha256(), self._disk)


def copy_file(source: Path, target: Path, disk: Disk) -> None:
    """Copy the bytes of `source` to `target`, synced; a `target` that exists is replaced.

    Raises OSError, and leaves a part of the bytes in `target` then.
    """
    reading = disk.open_file(source)
    try:
        writing = _create_anew(target, disk)
        try:
            offset = 0
            while chunk := disk.read(reading, CHUNK_BYTES, offset):
                offset += len(chunk)
                _write_all(writing, chunk, disk)
            disk.sync(writing)
        finally:
            disk.close(writing)
    finally:
        disk.close(reading)


def _create_anew(path: Path, disk: Disk) -> int:
    """Create a file in the place of one that an earlier attempt has left behind."""
    try:
        return disk.create(path)
    except FileExistsError:
        disk.unlink(path)
        return disk.create(path)


def _write_all(descriptor: int, content: bytes, disk: Disk) -> None:
    left = memoryview(content)
    while left:
        left = left[disk.write(descriptor, left) :]
