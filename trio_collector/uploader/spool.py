"""The spool: sealed files in data_dir that are not delivered yet.

The folder is the queue. It holds what earlier processes have left without further bookkeeping, and a
store that is down for days costs disk, not memory: of a long queue only the front is listed. A
sealed file whose journal still stands beside it is not in the spool, because the writer has not let
go of it. Neither is a file in quarantine.
"""

import contextlib
import datetime
import heapq
import re
import stat
from collections.abc import Iterator, Set
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple, TypeVar

from trio_collector import layout
from trio_collector.disk import LOCAL_DISK, Disk, FolderListing
from trio_collector.store.local_file import FileStamp, file_stamp

AnyPath = TypeVar("AnyPath", bound=PurePath)

_MILLISECOND = re.compile(r"[0-9]{1,18}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

# How many files are listed ahead; they take about 1 MB of memory.
FRONT = 1000


class SealedFile(NamedTuple):
    """A sealed file to be delivered: where it is, and its key, which is its path below the root."""

    path: Path
    key: PurePosixPath


class Spool(NamedTuple):
    """What is waiting: the front of the queue, and totals of all of it."""

    front: list[SealedFile]  # oldest first
    files: int  # without those skipped, whose number the caller knows
    size_bytes: int
    oldest_s: float | None  # Unix time at which the file that waits longest was sealed

    @property
    def has_more(self) -> bool:
        """Whether there may be more than the front and what was skipped."""
        return len(self.front) >= FRONT


class _Found(NamedTuple):
    first_ms: int
    key: str
    size_bytes: int
    sealed_s: float


def scan_spool(
    data_dir: Path, skipped: Set[PurePosixPath] = frozenset(), disk: Disk = LOCAL_DISK
) -> Spool:
    """Return what is in the spool; the front and the number of files are without `skipped`.

    Raises OSError.
    """
    files = size_bytes = 0
    oldest_s: float | None = None
    skipped_keys = frozenset(map(str, skipped))

    def waiting() -> Iterator[_Found]:
        """Count all, and yield those that may be in the front."""
        nonlocal files, size_bytes, oldest_s
        for found in _find_sealed(data_dir, disk):
            size_bytes += found.size_bytes
            oldest_s = found.sealed_s if oldest_s is None else min(oldest_s, found.sealed_s)
            if found.key not in skipped_keys:
                files += 1
                yield found

    front = [
        SealedFile(data_dir / found.key, PurePosixPath(found.key))
        for found in heapq.nsmallest(FRONT, waiting())
    ]
    return Spool(front, files, size_bytes, oldest_s)


def check_unchanged(path: Path, stamp: FileStamp, disk: Disk = LOCAL_DISK) -> None:
    """Return if `path` is still the file that was delivered; raises OSError."""
    if file_stamp(path, disk) != stamp:
        raise OSError(f"{path}: changed while it was delivered")


def next_millisecond(path: AnyPath) -> AnyPath:
    """Return the name to try where that of a sealed file is taken."""
    return path.with_name(f"{int(path.stem) + 1}{path.suffix}")


def remove_empty_days(data_dir: Path, today: datetime.date, disk: Disk = LOCAL_DISK) -> None:
    """Remove the empty folders of past days; a folder that cannot be listed or removed stays.

    The writer creates files in the folder of the day on which a row came. It may need yesterday's
    just after midnight, but none that is older, and would create it again. The folders above those
    of days are few, and stay.
    """
    yesterday = (today - datetime.timedelta(days=1)).isoformat()
    for folder, listing in _walk(data_dir, disk, OSError):
        day = folder.name
        if not any(listing) and _DAY.fullmatch(day) and day < yesterday:
            with contextlib.suppress(OSError):  # it is not empty any more, or gone
                disk.remove_folder(data_dir / folder)


def _find_sealed(data_dir: Path, disk: Disk) -> Iterator[_Found]:
    """Yield what is in the spool. A folder that is gone is left out; other errors are raised."""
    for folder, listing in _walk(data_dir, disk, FileNotFoundError):
        if not folder.parts:
            listing.folders[:] = [name for name in listing.folders if name != layout.QUARANTINE]
        elif _is_ours(folder):
            yield from _find_in(str(data_dir), str(folder), listing.files, disk)


def _walk(
    data_dir: Path, disk: Disk, ignored: type[OSError]
) -> Iterator[tuple[PurePosixPath, FolderListing]]:
    """Yield each folder by its path below `data_dir`, and its listing, parents first.

    Folders that the caller takes off a listing are not visited. Folders that cannot be listed, for
    a reason that is `ignored`, are left out.
    """
    waiting = [PurePosixPath()]
    while waiting:
        folder = waiting.pop()
        try:
            listing = disk.list_folder(data_dir / folder)
        except ignored:
            continue
        yield folder, listing
        waiting.extend(folder / name for name in listing.folders)


def _find_in(data_dir: str, folder: str, names: list[str], disk: Disk) -> Iterator[_Found]:
    """Yield the sealed files among the `names` in `folder`, which is its path below `data_dir`.

    A journal is removed only after its sealed file was created, so a listing that shows a sealed
    file without a journal proves that the journal is gone.
    """
    listed = frozenset(names)
    for name in names:
        stem = name.removesuffix(layout.SEALED)
        if stem == name or not _MILLISECOND.fullmatch(stem) or stem + layout.JOURNAL in listed:
            continue
        key = f"{folder}/{name}"
        try:
            facts = disk.stat(f"{data_dir}/{key}", follows_links=False)
        except FileNotFoundError:  # somebody has removed it since
            continue
        if stat.S_ISREG(facts.st_mode):
            yield _Found(int(stem), key, facts.st_size, facts.st_mtime)


def _is_ours(folder: PurePosixPath) -> bool:
    """Return whether files in `folder` can be a stream's."""
    try:
        return layout.parse_segment_path(folder / "0") is not None
    except ValueError:
        return False
