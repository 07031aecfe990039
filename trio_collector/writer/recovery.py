"""What becomes of a journal that nobody writes to any more, in this process or after a crash.

A kill can come between any two calls to the disk, so every combination of files has one answer:

    left behind                               answer
    X.parquet.tmp                             removed: it was never complete
    X.arrows, with rows                       sealed
    X.arrows and a complete X.parquet         the journal is dropped: the kill came after the rename
    X.arrows and an incomplete X.parquet      X.parquet goes into quarantine, the journal is sealed
    X.arrows, torn within its first append    removed: no row of it was acknowledged
    X.arrows, no whole batch, more than that  goes into quarantine: there may have been rows

`quarantine/` keeps a file under the same path; nothing that may hold a row is deleted. An
incomplete sealed file goes there rather than staying beside a second one: then every row is in
exactly one file that is delivered. Files that are not named as segments are left alone.
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
from trio_collector.format.sealed_file import check_sealed
from trio_collector.writer.seal import Sealed, remove, seal
from trio_collector.writer.segment import Spool, archived_path, sealed_path

log = structlog.get_logger(__name__)


class Leftovers(NamedTuple):
    """The segments that an earlier process left in data_dir, by their state, each list sorted."""

    temporary: list[PurePosixPath]
    journals: list[PurePosixPath]
    sealed: list[PurePosixPath]  # without a journal: ready to be delivered


def plan_recovery(found: Iterable[PurePosixPath]) -> Leftovers:
    """Return which of the files `found` below data_dir are segments, and in which state."""
    left = Leftovers([], [], [])
    for path in sorted(path for path in found if _stream_of(path)):
        if path.name.endswith(layout.TEMPORARY):
            left.temporary.append(path)
        elif path.name.endswith(layout.JOURNAL):
            left.journals.append(path)
        elif path.name.endswith(layout.SEALED):
            left.sealed.append(path)
    journals = set(left.journals)
    ready = [path for path in left.sealed if path.with_suffix(layout.JOURNAL) not in journals]
    return left._replace(sealed=ready)


class JournalPlan(enum.Enum):
    """What is done with one journal."""

    SEAL = "seal"
    COMPARE = "compare"  # with the sealed file of the same name
    REMOVE = "remove"
    QUARANTINE = "quarantine"


def plan_journal(
    state: JournalState, *, has_sealed: bool, has_acknowledged_rows: bool
) -> JournalPlan:
    """Return what is done with a journal in this `state`.

    `has_sealed`: a sealed file of the same name exists. `has_acknowledged_rows`: this process
    counted rows as written to the journal, so it is never removed.
    """
    if state is JournalState.ROWS:
        return JournalPlan.COMPARE if has_sealed else JournalPlan.SEAL
    if state is JournalState.NOTHING and not has_acknowledged_rows:
        return JournalPlan.REMOVE
    return JournalPlan.QUARANTINE


class Outcome(enum.Enum):
    """What was done with a journal."""

    SEALED = "sealed"
    DROPPED = "dropped"  # its sealed file was complete
    REMOVED = "removed"  # it held no row
    QUARANTINED = "quarantined"


class Recovered(NamedTuple):
    """What was done with a journal, and what was found in it."""

    outcome: Outcome
    stream: Stream | None
    sealed: Sealed | None = None  # of SEALED and DROPPED
    lost_bytes: int = 0


def find_files(root: Path) -> list[PurePosixPath]:
    """Return the files below `root`, without the quarantine. What cannot be listed is logged."""
    found = []
    for folder, folders, files in os.walk(root, onerror=_report_unlisted):
        if Path(folder) == root:
            folders[:] = [name for name in folders if name != layout.QUARANTINE]
        below = PurePosixPath(folder).relative_to(root)
        found += [below / name for name in files]
    return found


def recover(
    path: PurePosixPath, spool: Spool, disk: Disk, *, has_acknowledged_rows: bool = False
) -> Recovered:
    """Seal, drop, remove or quarantine the journal `path`, below data_dir.

    Raises OSError and SealError; the journal is kept then.
    """
    journal = spool.root / path
    found = _sealed_already(journal, spool)
    plan = plan_journal(
        inspect_journal(journal),
        has_sealed=found is not None,
        has_acknowledged_rows=has_acknowledged_rows,
    )
    if plan is JournalPlan.REMOVE:
        remove(journal, disk)
        return Recovered(Outcome.REMOVED, _stream_of(path))
    if plan is JournalPlan.QUARANTINE:
        lost_bytes = journal.stat().st_size
        quarantine(journal, spool.root, disk)
        return Recovered(Outcome.QUARANTINED, _stream_of(path), lost_bytes=lost_bytes)
    if found and plan is JournalPlan.COMPARE:
        if complete := _compare(found, journal):
            remove(journal, disk)
            return _recovered(Outcome.DROPPED, complete)
        if found.is_relative_to(spool.root):
            quarantine(found, spool.root, disk)
    return _recovered(Outcome.SEALED, seal(journal, disk))


def _recovered(outcome: Outcome, sealed: Sealed) -> Recovered:
    return Recovered(outcome, sealed.header.stream, sealed, sealed.lost_bytes)


def quarantine(path: Path, root: Path, disk: Disk) -> None:
    """Move `path` into the quarantine. Raises OSError.

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


def _sealed_already(journal: Path, spool: Spool) -> Path | None:
    paths = (sealed_path(journal), archived_path(spool, journal))
    return next((path for path in paths if path and path.exists()), None)


def _stream_of(path: PurePosixPath) -> Stream | None:
    """Return the stream of the segment `path`; None if it is not named as one."""
    try:
        parsed = layout.parse_segment_path(path)
    except ValueError:  # bytes that are no text, which `os.walk` returns as surrogates
        return None
    return parsed.stream if parsed else None


def _report_unlisted(exc: OSError) -> None:
    log.error("folder cannot be listed", path=exc.filename, error=str(exc))
