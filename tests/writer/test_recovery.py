"""Every combination of files that a crash leaves behind has one answer."""

import errno
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
import structlog

from trio_collector.disk import LOCAL_DISK
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.journal_reader import JournalState
from trio_collector.writer.recovery import (
    JournalPlan,
    Leftovers,
    Outcome,
    Recovered,
    find_files,
    plan_journal,
    plan_recovery,
    recover,
)
from trio_collector.writer.seal import seal
from trio_collector.writer.segment import Spool

MakeBatch = Callable[..., Batch]
WriteJournal = Callable[..., list[int]]

STEM = PurePosixPath("binance/btcusdt/trade/2023-11-15/1700049600000")
JOURNAL, SEALED = STEM.with_suffix(".arrows"), STEM.with_suffix(".parquet")
TEMPORARY = STEM.with_suffix(".parquet.tmp")
SECOND = STEM.with_name("1700049600001.arrows")


@pytest.mark.parametrize(
    ("found", "plan"),
    [
        ([], Leftovers([], [], [])),
        ([JOURNAL], Leftovers([], [JOURNAL], [])),
        ([SEALED], Leftovers([], [], [SEALED])),
        ([SEALED, JOURNAL], Leftovers([], [JOURNAL], [])),
        ([JOURNAL, TEMPORARY, SEALED], Leftovers([TEMPORARY], [JOURNAL], [])),
        ([TEMPORARY], Leftovers([TEMPORARY], [], [])),
        ([SECOND, JOURNAL], Leftovers([], [JOURNAL, SECOND], [])),
    ],
)
def test_plan(found: list[PurePosixPath], plan: Leftovers) -> None:
    """Temporary files, journals, and sealed files without one are told apart, in order."""
    assert plan_recovery(found) == plan


@pytest.mark.parametrize(
    "path",
    [
        ".lock",
        "notes.txt",
        "backup.parquet.tmp",
        "binance/btcusdt/candle/2023-11-15/1.parquet.tmp",
        "binance/btcusdt/trade/2023-11-15/copy.arrows",
        "~ff/btcusdt/trade/2023-11-15/1.arrows",  # decodes to no text
        "a/b/c/d/e/f/trade/2023-11-15/1.arrows",
        "binance/btcusdt/trade/2023-11-15/1.csv",
    ],
)
def test_foreign_files_are_left_alone(path: str) -> None:
    """What is not named as ours is no concern of ours."""
    assert plan_recovery([PurePosixPath(path)]) == Leftovers([], [], [])


@pytest.mark.parametrize(
    ("state", "has_sealed", "plan"),
    [
        (JournalState.ROWS, False, JournalPlan.SEAL),
        (JournalState.ROWS, True, JournalPlan.COMPARE),
        (JournalState.NOTHING, False, JournalPlan.REMOVE),
        (JournalState.NOTHING, True, JournalPlan.REMOVE),
        (JournalState.UNREADABLE, False, JournalPlan.QUARANTINE),
        (JournalState.UNREADABLE, True, JournalPlan.QUARANTINE),
    ],
)
def test_plan_journal(state: JournalState, has_sealed: bool, plan: JournalPlan) -> None:
    """Rows are sealed, nothing is removed, and what may have been rows goes into quarantine."""
    found = plan_journal(state, has_sealed=has_sealed, has_acknowledged_rows=False)
    assert found is plan
    acknowledged = plan_journal(state, has_sealed=has_sealed, has_acknowledged_rows=True)
    assert acknowledged is (JournalPlan.QUARANTINE if plan is JournalPlan.REMOVE else plan)


def test_quarantine_is_never_looked_at(tmp_path: Path) -> None:
    """What is in quarantine is not found again."""
    for name in ("quarantine/a/b", "binance/quarantine/x"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.arrows").touch()
    assert find_files(tmp_path) == [PurePosixPath("binance/quarantine/x/1.arrows")]


def test_no_folder_no_files(tmp_path: Path) -> None:
    """A data_dir that does not exist yet holds nothing."""
    assert find_files(tmp_path / "absent") == []


@pytest.fixture
def journal(tmp_path: Path, make_batch: MakeBatch, write_journal: WriteJournal) -> Path:
    """A journal of nine rows at its place below `tmp_path`."""
    write_journal(tmp_path / JOURNAL, [make_batch(4), make_batch(5, start=4)])
    return tmp_path / JOURNAL


def recover_at(root: Path, *, has_acknowledged_rows: bool = False) -> Recovered:
    return recover(JOURNAL, Spool(root), LOCAL_DISK, has_acknowledged_rows=has_acknowledged_rows)


def files(root: Path) -> set[str]:
    return {str(path) for path in (path.relative_to(root) for path in root.rglob("*.*"))}


def test_rows_are_sealed(tmp_path: Path, journal: Path) -> None:
    """A journal with a torn tail is sealed with its whole batches."""
    with journal.open("ab") as file:
        file.write(b"\xff\xff\xff\xff torn")
    recovered = recover_at(tmp_path)
    assert recovered.sealed is not None
    assert (recovered.outcome, recovered.sealed.rows, recovered.lost_bytes) == (
        Outcome.SEALED,
        9,
        9,
    )
    assert recovered.stream == Stream("binance", "btcusdt", DataType.TRADE)
    assert files(tmp_path) == {str(SEALED)}


@pytest.mark.parametrize("is_archived", [False, True])
def test_a_complete_sealed_file_wins(tmp_path: Path, journal: Path, is_archived: bool) -> None:
    """A journal whose sealed file is complete is dropped, also if that was moved on already."""
    root, archive = tmp_path, tmp_path.with_name(f"{tmp_path.name}-archive")
    content = journal.read_bytes()
    sealed = seal(journal, LOCAL_DISK).path
    journal.write_bytes(content)
    if is_archived:
        (archive / SEALED).parent.mkdir(parents=True)
        sealed.rename(archive / SEALED)
    recovered = recover(JOURNAL, Spool(root, None, archive), LOCAL_DISK)
    assert recovered.sealed is not None
    assert (recovered.outcome, recovered.sealed.rows) == (Outcome.DROPPED, 9)
    assert files(root) == (set() if is_archived else {str(SEALED)})


def test_a_complete_file_is_told_by_its_first_row(
    tmp_path: Path, journal: Path, make_batch: MakeBatch, write_journal: WriteJournal
) -> None:
    """The first row is compared, however many rows the first append has; its time counts as well."""
    journal.unlink()
    write_journal(journal, [make_batch(1), make_batch(2, start=1)])
    content = journal.read_bytes()
    sealed = seal(journal, LOCAL_DISK).path
    journal.write_bytes(content)
    assert recover_at(tmp_path).outcome is Outcome.DROPPED
    sealed.unlink()
    write_journal(journal, [make_batch(1, received_us=5), make_batch(2, start=1)])
    seal(journal, LOCAL_DISK)
    journal.write_bytes(content)
    assert recover_at(tmp_path).outcome is Outcome.SEALED
    assert files(tmp_path) == {str(SEALED), f"quarantine/{SEALED}"}


@pytest.mark.parametrize("damage", ["short", "flipped", "foreign"])
def test_an_incomplete_sealed_file_is_set_aside(
    tmp_path: Path,
    journal: Path,
    damage: str,
    make_batch: MakeBatch,
    write_journal: WriteJournal,
    sealed_frames: Callable[[Path], list[bytes]],
) -> None:
    """A sealed file that lacks rows, is damaged or is another's makes room, and is kept."""
    content = journal.read_bytes()
    if damage != "flipped":
        journal.unlink()
        write_journal(
            journal, [make_batch(4 if damage == "short" else 20, start=damage == "foreign")]
        )
    sealed = seal(journal, LOCAL_DISK).path
    if damage == "flipped":
        damaged = bytearray(sealed.read_bytes())
        damaged[len(damaged) // 3] ^= 1
        sealed.write_bytes(damaged)
    journal.write_bytes(content)
    assert recover_at(tmp_path).outcome is Outcome.SEALED
    assert files(tmp_path) == {str(SEALED), f"quarantine/{SEALED}"}
    assert sealed_frames(tmp_path) == [b'{"n":%d}' % n for n in range(9)]


@pytest.mark.parametrize("length", [0, 3, 300, 900])
def test_a_torn_first_append_is_removed(tmp_path: Path, journal: Path, length: int) -> None:
    """A file that ends within its first append holds no acknowledged row."""
    journal.write_bytes(journal.read_bytes()[:length])
    assert recover_at(tmp_path).outcome is Outcome.REMOVED
    assert files(tmp_path) == set()


def test_a_journal_with_acknowledged_rows_is_never_removed(tmp_path: Path, journal: Path) -> None:
    """If rows were acknowledged and the file is empty all the same, it goes into quarantine."""
    journal.write_bytes(b"")
    assert recover_at(tmp_path, has_acknowledged_rows=True).outcome is Outcome.QUARANTINED
    assert files(tmp_path) == {f"quarantine/{JOURNAL}"}


def test_what_cannot_be_read_is_set_aside(tmp_path: Path, journal: Path) -> None:
    """A damaged header is moved to the quarantine as it is, however often that happens."""
    content = journal.read_bytes().replace(b"btcusdt", b"btcusdc")
    for _ in range(2):
        journal.write_bytes(content)
        recovered = recover_at(tmp_path)
        assert (recovered.outcome, recovered.lost_bytes) == (Outcome.QUARANTINED, len(content))
    quarantine = tmp_path / "quarantine" / JOURNAL
    assert quarantine.read_bytes() == content
    assert files(tmp_path) == {f"quarantine/{JOURNAL}", f"quarantine/{JOURNAL}.again"}


@pytest.mark.parametrize("is_torn", [True, False])
def test_a_journal_without_rows_beside_a_sealed_file(
    tmp_path: Path, journal: Path, is_torn: bool
) -> None:
    """A journal that holds no whole batch is not compared with a sealed file, which stays."""
    content = journal.read_bytes()
    sealed = seal(journal, LOCAL_DISK).path
    expected = sealed.read_bytes()
    journal.write_bytes(content[:900] if is_torn else b"no journal at all")
    outcome = recover_at(tmp_path).outcome
    assert outcome is (Outcome.REMOVED if is_torn else Outcome.QUARANTINED)
    assert files(tmp_path) - {f"quarantine/{JOURNAL}"} == {str(SEALED)}
    assert sealed.read_bytes() == expected


def test_a_sealed_file_that_cannot_be_read_today(tmp_path: Path, journal: Path) -> None:
    """An error of the disk decides nothing: both files stay where they are."""
    sealed = tmp_path / SEALED
    sealed.mkdir()  # opening it fails, with a number
    with pytest.raises(IsADirectoryError):
        recover_at(tmp_path)
    assert journal.exists()
    assert sealed.is_dir()
    assert not (tmp_path / "quarantine").exists()


def test_an_incomplete_file_in_the_archive_is_left_there(tmp_path: Path, journal: Path) -> None:
    """What is damaged in the archive is no longer ours to move; the journal is sealed beside it."""
    root, archive = tmp_path, tmp_path.with_name(f"{tmp_path.name}-archive")
    (archive / SEALED).parent.mkdir(parents=True)
    (archive / SEALED).write_bytes(b"PAR1 damaged")
    recovered = recover(JOURNAL, Spool(root, None, archive), LOCAL_DISK)
    assert recovered.outcome is Outcome.SEALED
    assert files(root) == {str(SEALED)}
    assert (archive / SEALED).read_bytes() == b"PAR1 damaged"


def test_what_recovery_tells(tmp_path: Path, journal: Path, write_journal: WriteJournal) -> None:
    """What was lost in the journal is told, whether it is sealed or its sealed file was complete."""
    content = bytearray(journal.read_bytes())
    content[-30] ^= 1  # in the second append: five rows
    journal.write_bytes(content + b"torn")
    damaged = journal.read_bytes()
    first = recover_at(tmp_path)
    journal.write_bytes(damaged)
    second = recover_at(tmp_path)
    assert (first.outcome, second.outcome) == (Outcome.SEALED, Outcome.DROPPED)
    for each in (first, second):
        assert each.stream == Stream("binance", "btcusdt", DataType.TRADE)
        assert each.sealed is not None
        assert each.sealed.path == tmp_path / SEALED
        assert each.sealed.size_bytes == each.sealed.path.stat().st_size
        assert (each.sealed.rows, each.sealed.lost_bytes) == (4, each.lost_bytes)
        assert each.lost_bytes > 4
    assert first.sealed == second.sealed


def test_folders_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be listed is logged, and the others are searched."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.arrows").touch()
    scandir = os.scandir

    def scan(path: str) -> object:
        if Path(path).name == "a":
            raise PermissionError(errno.EACCES, "injected", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    with structlog.testing.capture_logs() as entries:
        assert find_files(tmp_path) == [PurePosixPath("b/1.arrows")]
    assert [(entry["event"], entry["path"]) for entry in entries] == [
        ("folder cannot be listed", str(tmp_path / "a"))
    ]
