"""The spool: sealed files in data_dir that nobody has delivered yet.

The folder is the queue. Whatever an earlier process left is in it without further ado, and a store
that is down for days costs disk, not memory: of a long queue only the front is looked at. A sealed
file whose journal still stands beside it is not in the spool: the writer has not let go of it. Nor
is what was set aside.
"""

import contextlib
import datetime
import heapq
import os
import re
import stat
from collections.abc import Iterator, Set
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from trio_collector import layout
from trio_collector.store.file_stamp import FileStamp, file_stamp

_MILLISECOND = re.compile(r"[0-9]{1,18}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

# As many as are worth knowing ahead; about 1 MB of memory.
FRONT = 1000


class SealedFile(NamedTuple):
    """A sealed file on its way: where it is, and its key, which is its path below the root."""

    path: Path
    key: PurePosixPath


class Spool(NamedTuple):
    """What is waiting: the front of the queue, and all of it in numbers."""

    front: list[SealedFile]  # oldest first
    files: int  # those skipped are not counted: what became of them since, the caller knows
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


def scan_spool(data_dir: Path, skipped: Set[PurePosixPath] = frozenset()) -> Spool:
    """Return what is in the spool; the front and the number of files are without `skipped`.

    Raises OSError.
    """
    files = size_bytes = 0
    oldest_s: float | None = None
    skipped_keys = frozenset(map(str, skipped))

    def waiting() -> Iterator[_Found]:
        """Count all, and yield those that may be in the front."""
        nonlocal files, size_bytes, oldest_s
        for found in _find_sealed(data_dir):
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


def check_version(path: Path, version: FileStamp) -> None:
    """Return if `path` is the `version` that was delivered; raises OSError."""
    if file_stamp(path) != version:
        raise OSError(f"{path}: changed while it was delivered")


def remove_delivered(path: Path) -> None:
    """Remove a file from the spool. Raises OSError.

    Nothing makes that last: a file that a power loss brings back is found delivered.
    """
    path.unlink()


def remove_empty_days(data_dir: Path, today: datetime.date) -> None:
    """Remove the folders of past days that are empty, as well as it goes.

    The writer creates files in the folder of the day on which a row came. Yesterday's it may still
    need just after midnight, older ones it does not; if it does all the same, it creates it again.
    Folders above those of days are few, and stay.
    """
    yesterday = (today - datetime.timedelta(days=1)).isoformat()
    for folder, folders, files in os.walk(data_dir, topdown=False):
        day = Path(folder).name
        if not folders and not files and _DAY.fullmatch(day) and day < yesterday:
            with contextlib.suppress(OSError):  # it was filled, or is gone, meanwhile
                Path(folder).rmdir()


def _find_sealed(data_dir: Path) -> Iterator[_Found]:
    for folder, folders, files in os.walk(data_dir, onerror=_report_unlisted):
        place = PurePosixPath(Path(folder).relative_to(data_dir))
        if not place.parts:
            folders[:] = [name for name in folders if name != layout.QUARANTINE]
        elif _is_ours(place):
            yield from _find_in(folder, str(place), files)


def _find_in(folder: str, place: str, names: list[str]) -> Iterator[_Found]:
    """Yield the sealed files among `names` in `folder`, whose key is `place`.

    That a journal is gone shows in a list that names its sealed file: it is there until the sealed
    file is.
    """
    journals = {name for name in names if name.endswith(layout.JOURNAL)}
    for name in names:
        stem = name.removesuffix(layout.SEALED)
        if stem == name or not _MILLISECOND.fullmatch(stem) or stem + layout.JOURNAL in journals:
            continue
        try:
            facts = os.lstat(f"{folder}/{name}")
        except FileNotFoundError:  # a person was faster
            continue
        if stat.S_ISREG(facts.st_mode):
            yield _Found(int(stem), f"{place}/{name}", facts.st_size, facts.st_mtime)


def _is_ours(place: PurePosixPath) -> bool:
    """Return whether files in the folder `place` can be a stream's."""
    try:
        return layout.parse_segment_path(place / "0") is not None
    except ValueError:
        return False


def _report_unlisted(exc: OSError) -> None:
    """Go on without a folder that is gone; anything else is raised."""
    if not isinstance(exc, FileNotFoundError):
        raise exc
