"""Where a new segment goes: the first free millisecond of its first row's folder.

A name is taken if a journal, a sealed file or a temporary one has it, here or where sealed files
are moved to. The folder stays that of the first row's day even when the millisecond moves on.
"""

import contextlib
from pathlib import Path
from typing import NamedTuple

from trio_collector import layout
from trio_collector.disk import Disk, make_folders
from trio_collector.format.header import Header
from trio_collector.format.journal import Journal

_SUFFIXES = (layout.JOURNAL, layout.SEALED, layout.TEMPORARY)


class Folders(NamedTuple):
    """Where segments are kept."""

    root: Path
    server: str | None = None
    delivered: Path | None = None  # where sealed files are moved to, if they are


def create_journal(folders: Folders, header: Header, disk: Disk, changed: set[Path]) -> Journal:
    """Create a journal under `header`; add the folders whose names changed to `changed`.

    Raises OSError. What was created until then stays: an empty folder is no harm.
    """
    stream, first_us = header.stream, header.first_us
    path = folders.root / layout.segment_path(stream, folders.server, first_us // 1000)
    make_folders(disk, path.parent, changed)
    first_ms = first_us // 1000
    while True:
        path = path.with_name(f"{first_ms}{layout.JOURNAL}")
        first_ms += 1
        if is_taken(folders, path):
            continue
        with contextlib.suppress(FileExistsError):
            descriptor = disk.create(path)
            changed.add(path.parent)
            return Journal(path, descriptor, header, disk)


def is_taken(folders: Folders, journal: Path) -> bool:
    """Return whether the name of `journal` is in use in any state."""
    if any(journal.with_suffix(suffix).exists() for suffix in _SUFFIXES):
        return True
    return (delivered := delivered_path(folders, journal)) is not None and delivered.exists()


def sealed_path(journal: Path) -> Path:
    """Return what `journal` is sealed to."""
    return journal.with_suffix(layout.SEALED)


def delivered_path(folders: Folders, journal: Path) -> Path | None:
    """Return where the sealed file of `journal` is moved to; None if it is not moved."""
    if folders.delivered is None:
        return None
    return folders.delivered / sealed_path(journal).relative_to(folders.root)
