"""What becomes of a journal that nobody writes on any more, in this process or after a crash.

A kill can come between any two calls to the disk, so every combination of files has one answer:

    left behind                               answer
    X.parquet.tmp                             removed: it was never complete
    X.arrows, with rows                       sealed
    X.arrows and a complete X.parquet         the journal is dropped: the kill came after the rename
    X.arrows and an incomplete X.parquet      X.parquet is set aside, the journal is sealed
    X.arrows, torn within its first append    removed: no row of it was acknowledged
    X.arrows, no whole batch, more than that  set aside: there may have been rows

*Set aside* is moved to `quarantine/` under the same path; nothing that may hold a row is deleted.
An incomplete sealed file is set aside rather than left beside a second one: then every row is in
exactly one file that is delivered. Files that are not named as ours are left alone.
"""

import enum
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import structlog

from trio_collector import layout
from trio_collector.disk import Disk, make_folders
from trio_collector.errors import SealError
from trio_collector.events import Stream
from trio_collector.format.journal_reader import JournalState, inspect_journal, open_journal
from trio_collector.writer.seal import Sealed, check_sealed, remove, seal
from trio_collector.writer.segment import Folders, delivered_path, sealed_path

log = structlog.get_logger(__name__)


class RecoveryStep(enum.Enum):
    """What is done with one file."""

    REMOVE = "remove"
    SETTLE = "settle"  # look into the journal and decide then
    SEAL = "seal"
    COMPARE = "compare"  # with the sealed file of the same name
    SET_ASIDE = "set aside"
    DROP = "drop"  # the journal: its sealed file is complete
    DELIVER = "deliver"  # it is sealed and waits


class RecoveryAction(NamedTuple):
    """One step, and the file it is about, below data_dir."""

    step: RecoveryStep
    path: PurePosixPath


def plan_recovery(found: Iterable[PurePosixPath]) -> list[RecoveryAction]:
    """Return what is to be done about the files `found` below data_dir, in order."""
    ours = sorted(path for path in found if _stream_of(path))
    journals = {path for path in ours if path.name.endswith(layout.JOURNAL)}
    actions = []
    for path in ours:
        if path.name.endswith(layout.TEMPORARY):
            actions.append(RecoveryAction(RecoveryStep.REMOVE, path))
        elif path in journals:
            actions.append(RecoveryAction(RecoveryStep.SETTLE, path))
        elif path.name.endswith(layout.SEALED) and path.with_suffix(layout.JOURNAL) not in journals:
            actions.append(RecoveryAction(RecoveryStep.DELIVER, path))
    return sorted(actions, key=lambda action: _ORDER[action.step])


# Temporary files go first: a seal creates its own under the same name.
_ORDER = {RecoveryStep.REMOVE: 0, RecoveryStep.DELIVER: 1, RecoveryStep.SETTLE: 2}


def plan_journal(state: JournalState, has_sealed: bool) -> RecoveryStep:
    """Return what is to be done with a journal that holds what `state` says."""
    if state is JournalState.NOTHING:
        return RecoveryStep.REMOVE
    if state is JournalState.UNREADABLE:
        return RecoveryStep.SET_ASIDE
    return RecoveryStep.COMPARE if has_sealed else RecoveryStep.SEAL


class Recovered(NamedTuple):
    """What was done with a journal."""

    step: RecoveryStep  # DROP, SEAL, REMOVE or SET_ASIDE
    stream: Stream | None
    sealed: Sealed | None = None  # of DROP and SEAL
    lost_bytes: int = 0


def find_files(root: Path) -> list[PurePosixPath]:
    """Return the files below `root`, without what is set aside. What cannot be listed is logged."""
    found = []
    for folder, folders, files in os.walk(root, onerror=_report_unlisted):
        if Path(folder) == root:
            folders[:] = [name for name in folders if name != layout.QUARANTINE]
        below = PurePosixPath(folder).relative_to(root)
        found += [below / name for name in files]
    return found


def recover(
    path: PurePosixPath, folders: Folders, disk: Disk, acknowledged_rows: int = 0
) -> Recovered:
    """Do with the journal `path`, below data_dir, what has to be done.

    A journal with `acknowledged_rows` is never removed. Raises OSError and SealError; the journal
    is kept then.
    """
    journal = folders.root / path
    found = _sealed_already(journal, folders)
    step = plan_journal(inspect_journal(journal), has_sealed=found is not None)
    if found and step is RecoveryStep.COMPARE:
        if done := _compare(found, journal):
            remove(journal, disk)
            return Recovered(RecoveryStep.DROP, done.header.stream, done, done.lost_bytes)
        if found.is_relative_to(folders.root):
            quarantine(found, folders.root, disk)
        step = RecoveryStep.SEAL
    if step is RecoveryStep.SEAL:
        done = seal(journal, disk)
        return Recovered(step, done.header.stream, done, done.lost_bytes)
    if step is RecoveryStep.REMOVE and not acknowledged_rows:
        remove(journal, disk)
        return Recovered(step, _stream_of(path))
    lost_bytes = journal.stat().st_size
    quarantine(journal, folders.root, disk)
    return Recovered(RecoveryStep.SET_ASIDE, _stream_of(path), lost_bytes=lost_bytes)


def quarantine(path: Path, root: Path, disk: Disk) -> Path:
    """Move `path` into the quarantine and return where it is now. Raises OSError.

    The new name is synced before the old one is given up: a power loss leaves at least one of them.
    """
    target = root / layout.QUARANTINE / path.relative_to(root)
    changed = {target.parent}
    make_folders(disk, target.parent, changed)
    while target.exists():
        target = target.with_name(f"{target.name}.again")
    disk.rename(path, target)
    for folder in (*sorted(changed), path.parent):
        disk.sync_folder(folder)
    log.error("file set aside", path=str(path), quarantine=str(target))
    return target


def _compare(sealed: Path, journal: Path) -> Sealed | None:
    """Return what `sealed` is if it holds all that `journal` holds; None if it does not."""
    try:
        held = check_sealed(sealed)
    except SealError as exc:
        log.warning("sealed file is damaged", path=str(sealed), error=str(exc))
        return None
    with open_journal(journal) as reader:
        first, *_ = [
            (rows["exchange_sequence_id"][0], rows["timestamp_collector"][0]) for rows in reader
        ]
    if held.rows < reader.rows or (held.first_id, held.first_us) != tuple(v.as_py() for v in first):
        return None
    size_bytes = sealed.stat().st_size
    return Sealed(sealed, reader.header, held.rows, size_bytes, reader.lost_rows, reader.lost_bytes)


def _sealed_already(journal: Path, folders: Folders) -> Path | None:
    paths = (sealed_path(journal), delivered_path(folders, journal))
    return next((path for path in paths if path and path.exists()), None)


def _stream_of(path: PurePosixPath) -> Stream | None:
    """Return the stream that `path` is of; None if it is not ours."""
    try:
        parsed = layout.parse_segment_path(path)
    except ValueError:  # a foreign name that decodes to no text
        return None
    return parsed.stream if parsed else None


def _report_unlisted(exc: OSError) -> None:
    log.error("folder cannot be listed", path=exc.filename, error=str(exc))
