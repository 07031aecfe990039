"""Where a new segment goes."""

from pathlib import Path

import pytest

from trio_collector.disk import LOCAL_DISK, make_folders
from trio_collector.events import DataType, Stream
from trio_collector.format.header import new_header
from trio_collector.writer.segment import Spool, create_journal

STREAM = Stream("binance", "btc/usdt", DataType.TRADE)
FOLDER = "binance/btc~2fusdt/trade/tokyo/2023-11-15"
NOON_US = 1_700_049_600_000_000


def create(spool: Spool, first_us: int = NOON_US) -> Path:
    journal = create_journal(spool, new_header(STREAM, spool.server, first_us), LOCAL_DISK, set())
    journal.close()
    return journal.path


@pytest.mark.parametrize("suffix", [".arrows", ".parquet", ".parquet.tmp"])
def test_a_name_in_any_state_is_taken(tmp_path: Path, suffix: str) -> None:
    """A name that a journal, a sealed or a temporary file has moves on to the next millisecond."""
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    (folder / f"1700049600000{suffix}").touch()
    (folder / f"1700049600001{suffix}").touch()
    assert create(Spool(tmp_path, "tokyo")) == folder / "1700049600002.arrows"


def test_a_name_that_was_archived_is_taken(tmp_path: Path) -> None:
    """Where sealed files are moved to, their names count as well."""
    archive = tmp_path / "archive"
    (archive / FOLDER).mkdir(parents=True)
    (archive / FOLDER / "1700049600000.parquet").touch()
    spool = Spool(tmp_path / "spool", "tokyo", archive)
    assert create(spool).name == "1700049600001.arrows"


def test_the_folder_stays_that_of_the_day(tmp_path: Path) -> None:
    """The last millisecond of a day, when taken, moves on within the day's folder."""
    midnight_us = NOON_US + 12 * 3_600_000_000
    spool = Spool(tmp_path, "tokyo")
    first, second = create(spool, midnight_us - 1), create(spool, midnight_us - 1)
    assert first.parent == second.parent == tmp_path / FOLDER


def test_folders_are_private_and_reported(tmp_path: Path) -> None:
    """New folders are 0700, and those that got a new name are known, so that they can be synced."""
    changed: set[Path] = set()
    make_folders(LOCAL_DISK, tmp_path / "a" / "b" / "c", changed)
    assert changed == {tmp_path, tmp_path / "a", tmp_path / "a" / "b"}
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    make_folders(LOCAL_DISK, tmp_path / "a" / "b" / "d", changed := set())
    assert changed == {tmp_path / "a" / "b"}
