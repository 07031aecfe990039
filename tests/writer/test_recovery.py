"""Every combination of files that a crash leaves behind has one answer."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from trio_collector.disk import LOCAL_DISK
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.journal_reader import JournalState
from trio_collector.writer.recovery import (
    Recovered,
    RecoveryAction,
    RecoveryStep,
    find_files,
    plan_journal,
    plan_recovery,
    recover,
)
from trio_collector.writer.seal import seal
from trio_collector.writer.segment import Folders

MakeBatch = Callable[..., Batch]
WriteJournal = Callable[..., list[int]]

STEM = PurePosixPath("binance/btcusdt/trade/2023-11-15/1700049600000")
JOURNAL, SEALED = STEM.with_suffix(".arrows"), STEM.with_suffix(".parquet")
TEMPORARY = STEM.with_suffix(".parquet.tmp")


@pytest.mark.parametrize(
    ("found", "plan"),
    [
        ([], []),
        ([JOURNAL], [RecoveryAction(RecoveryStep.SETTLE, JOURNAL)]),
        ([SEALED], [RecoveryAction(RecoveryStep.DELIVER, SEALED)]),
        ([SEALED, JOURNAL], [RecoveryAction(RecoveryStep.SETTLE, JOURNAL)]),
        (
            [JOURNAL, TEMPORARY, SEALED],
            [
                RecoveryAction(RecoveryStep.REMOVE, TEMPORARY),
                RecoveryAction(RecoveryStep.SETTLE, JOURNAL),
            ],
        ),
        ([TEMPORARY], [RecoveryAction(RecoveryStep.REMOVE, TEMPORARY)]),
    ],
)
def test_plan(found: list[PurePosixPath], plan: list[RecoveryAction]) -> None:
    """Temporary files go first, journals are settled, sealed files without one are ready."""
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
    assert plan_recovery([PurePosixPath(path)]) == []


@pytest.mark.parametrize(
    ("state", "has_sealed", "step"),
    [
        (JournalState.ROWS, False, RecoveryStep.SEAL),
        (JournalState.ROWS, True, RecoveryStep.COMPARE),
        (JournalState.NOTHING, False, RecoveryStep.REMOVE),
        (JournalState.NOTHING, True, RecoveryStep.REMOVE),
        (JournalState.UNREADABLE, False, RecoveryStep.SET_ASIDE),
        (JournalState.UNREADABLE, True, RecoveryStep.SET_ASIDE),
    ],
)
def test_plan_journal(state: JournalState, has_sealed: bool, step: RecoveryStep) -> None:
    """Rows are sealed, nothing is removed, and what may have been rows is set aside."""
    assert plan_journal(state, has_sealed) is step


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


def settle_at(root: Path, acknowledged_rows: int = 0) -> Recovered:
    return recover(JOURNAL, Folders(root), LOCAL_DISK, acknowledged_rows)


def files(root: Path) -> set[str]:
    return {str(path) for path in (path.relative_to(root) for path in root.rglob("*.*"))}


def test_rows_are_sealed(tmp_path: Path, journal: Path) -> None:
    """A journal with a torn tail is sealed with its whole batches."""
    with journal.open("ab") as file:
        file.write(b"\xff\xff\xff\xff torn")
    settled = settle_at(tmp_path)
    assert settled.sealed is not None
    assert (settled.step, settled.sealed.rows, settled.lost_bytes) == (RecoveryStep.SEAL, 9, 9)
    assert settled.stream == Stream("binance", "btcusdt", DataType.TRADE)
    assert files(tmp_path) == {str(SEALED)}


@pytest.mark.parametrize("is_delivered", [False, True])
def test_a_complete_sealed_file_wins(tmp_path: Path, journal: Path, is_delivered: bool) -> None:
    """A journal whose sealed file is complete is dropped, also if that was moved on already."""
    root, delivered = tmp_path, tmp_path.with_name(f"{tmp_path.name}-archive")
    content = journal.read_bytes()
    sealed = seal(journal, LOCAL_DISK).path
    journal.write_bytes(content)
    if is_delivered:
        (delivered / SEALED).parent.mkdir(parents=True)
        sealed.rename(delivered / SEALED)
    settled = recover(JOURNAL, Folders(root, None, delivered), LOCAL_DISK)
    assert settled.sealed is not None
    assert (settled.step, settled.sealed.rows) == (RecoveryStep.DROP, 9)
    assert files(root) == (set() if is_delivered else {str(SEALED)})


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
    assert settle_at(tmp_path).step is RecoveryStep.SEAL
    assert files(tmp_path) == {str(SEALED), f"quarantine/{SEALED}"}
    assert sealed_frames(tmp_path) == [b'{"n":%d}' % n for n in range(9)]


@pytest.mark.parametrize("length", [0, 3, 300, 900])
def test_a_torn_first_append_is_removed(tmp_path: Path, journal: Path, length: int) -> None:
    """A file that ends within its first append holds no acknowledged row."""
    journal.write_bytes(journal.read_bytes()[:length])
    assert settle_at(tmp_path).step is RecoveryStep.REMOVE
    assert files(tmp_path) == set()


def test_a_journal_with_acknowledged_rows_is_never_removed(tmp_path: Path, journal: Path) -> None:
    """If rows were acknowledged and the file is empty all the same, it is set aside."""
    journal.write_bytes(b"")
    assert settle_at(tmp_path, acknowledged_rows=9).step is RecoveryStep.SET_ASIDE
    assert files(tmp_path) == {f"quarantine/{JOURNAL}"}


def test_what_cannot_be_read_is_set_aside(tmp_path: Path, journal: Path) -> None:
    """A damaged header is moved to the quarantine as it is, however often that happens."""
    content = journal.read_bytes().replace(b"btcusdt", b"btcusdc")
    for _ in range(2):
        journal.write_bytes(content)
        settled = settle_at(tmp_path)
        assert (settled.step, settled.lost_bytes) == (RecoveryStep.SET_ASIDE, len(content))
    quarantine = tmp_path / "quarantine" / JOURNAL
    assert quarantine.read_bytes() == content
    assert files(tmp_path) == {f"quarantine/{JOURNAL}", f"quarantine/{JOURNAL}.again"}
