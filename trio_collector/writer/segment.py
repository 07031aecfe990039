"""Where a new segment goes: the first free millisecond in the folder of its first row's day.

A name is taken if a journal, a sealed file or a temporary one has it, in the spool or in the archive
that sealed files are moved to. The folder stays that of the first row's day even when the
millisecond moves on.
"""

import contextlib
from pathlib import Path
from typing import NamedTuple

from trio_collector import layout
from trio_collector.disk import Disk, make_folders
from trio_collector.format.header import Header
from trio_collector.format.journal import Journal

_SUFFIXES = (layout.JOURNAL, layout.SEALED, layout.TEMPORARY)


class Spool(NamedTuple):
    """The folder in which segments grow and wait to be delivered (`data_dir`)."""

    root: Path
    server: str | None = None
    archive: Path | None = None  # where sealed files are moved to; None: they go to the store


def create_journal(spool: Spool, header: Header, disk: Disk, changed: set[Path]) -> Journal:
    """Create a journal under `header`; add the folders in which a name was created to `changed`.

    Raises OSError. Folders that were created until then stay: an empty one does no harm.
    """
    first_ms = header.first_us // 1000
    path = spool.root / layout.segment_path(header.stream, spool.server, first_ms)
    make_folders(disk, path.parent, changed)
    while True:
        path = path.with_name(f"{first_ms}{layout.JOURNAL}")
        first_ms += 1
        if is_taken(spool, path):
            continue
        with contextlib.suppress(FileExistsError):
            descriptor = disk.create(path)
            changed.add(path.parent)
            return Journal(path, descriptor, header, disk)


def is_taken(spool: Spool, journal: Path) -> bool:
    """Return whether the name of `journal` is in use in any state."""
    if any(journal.with_suffix(suffix).exists() for suffix in _SUFFIXES):
        return True
    return (archived := archived_path(spool, journal)) is not None and archived.exists()


def sealed_path(journal: Path) -> Path:
    """Return what `journal` is sealed to."""
    return journal.with_suffix(layout.SEALED)


def archived_path(spool: Spool, journal: Path) -> Path | None:
    """Return where the sealed file of `journal` is moved to; None without an archive."""
    if spool.archive is None:
        return None
    return spool.archive / sealed_path(journal).relative_to(spool.root)
