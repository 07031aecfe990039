"""The archive on this machine: `local_path`, with the keys of the store as its paths.

A file is linked into the archive and then removed from the spool, so that it is at every moment in
one of the two and never overwrites another. Where the two are on different filesystems it is
copied under a temporary name first. A process that dies in between leaves the same file in both;
the next one finds it there, compares, and removes the one in the spool.
"""

import errno
import hashlib
import os
import shutil
from pathlib import Path

from trio_collector import layout
from trio_collector.uploader.spool import SealedFile

# What os.link says where a link cannot be made: another filesystem, or one without links.
NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


def move_to_archive(sealed: SealedFile, archive: Path) -> Path:
    """Move `sealed` into `archive` and return where it is now.

    A name that another file has moves on to the next free millisecond. Raises OSError, after which
    the file is still in the spool.
    """
    target = archive / sealed.key
    _make_folders(target.parent)
    while not _place(sealed.path, target):
        if _have_same_content(sealed.path, target):
            break
        target = _next_name(target)
    _sync_folder(target.parent)
    sealed.path.unlink()
    return target


def _place(source: Path, target: Path) -> bool:
    """Make `target` the same file as `source`; False if the name is taken."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as exc:
        if exc.errno not in NO_LINK:
            raise
        return _copy(source, target)
    return True


def _copy(source: Path, target: Path) -> bool:
    """Copy `source` to `target` by way of a temporary name; False if the name is taken."""
    if target.exists():
        return False
    temporary = target.with_suffix(layout.TEMPORARY)
    with source.open("rb") as reader, temporary.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())
    temporary.replace(target)
    return True


def _have_same_content(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    return _digest(one) == _digest(other)


def _digest(path: Path) -> bytes:
    with path.open("rb") as reader:
        return hashlib.file_digest(reader, "sha256").digest()


def _next_name(path: Path) -> Path:
    return path.with_name(f"{int(path.stem) + 1}{path.suffix}")


def _make_folders(folder: Path) -> None:
    """Create `folder`, and make each new name in it last beyond a power loss."""
    if folder.exists():
        return
    _make_folders(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Return when the names in `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
