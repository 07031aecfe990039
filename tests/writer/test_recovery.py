"""Every combination of files that a crash leaves behind has one answer."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

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
    """What was set aside once is not found again."""
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
    """If rows were acknowledged and the file is empty all the same, it is set aside."""
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
