"""Log files: one a day, old ones are removed, and a full disk affects nothing else."""

import errno
import os
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from trio_collector.logs.daily_files import DailyFile, file_name, plan_removals

DAY_S = 86_400.0
NOON_S = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
TODAY = date(2026, 11, 22)


class Trouble:
    """Records what is reported."""

    def __init__(self) -> None:
        self.reports: list[tuple[Path, int | None]] = []

    def __call__(self, path: Path, exc: OSError) -> None:
        self.reports.append((path, exc.errno))


@pytest.fixture
def trouble() -> Trouble:
    return Trouble()


def contents(folder: Path) -> dict[str, str]:
    """Return the text of each file, by name."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_file_a_day(tmp_path: Path, trouble: Trouble) -> None:
    """Lines go to the file of their UTC day; one that comes after midnight's first goes with it."""
    file = DailyFile(tmp_path / "log", 0, trouble)
    midnight_s = NOON_S + DAY_S / 2
    for line, at_s in (
        ("one", NOON_S),
        ("two", midnight_s - 0.001),
        ("three", midnight_s),
        ("late", midnight_s - 0.001),
    ):
        assert file.write(line, at_s)
    file.close()
    assert contents(tmp_path / "log") == {
        "trio_collector-2026-11-22.log": "one\ntwo\n",
        "trio_collector-2026-11-23.log": "three\nlate\n",
    }


def test_a_restart_goes_on(tmp_path: Path, trouble: Trouble) -> None:
    """The file of the day is appended to, by a new process and by two at a time."""
    first, second = DailyFile(tmp_path, 1, trouble), DailyFile(tmp_path, 1, trouble)
    first.write("a", NOON_S)
    second.write("b", NOON_S)
    first.write("c", NOON_S)
    first.close()
    second.close()
    assert contents(tmp_path) == {file_name(TODAY): "a\nb\nc\n"}


def test_old_files_go(tmp_path: Path, trouble: Trouble) -> None:
    """When a day begins, files older than the retention are removed, and nothing else is."""
    foreign = ("notes.log", "trio_collector-2026-01-01.log.gz", "trio_collector-2026-99-99.log")
    for name in (*foreign, *(file_name(date(2026, 11, day)) for day in range(18, 23))):
        (tmp_path / name).write_text("x\n")
    file = DailyFile(tmp_path, 2, trouble)
    file.write("y", NOON_S)
    assert sorted(contents(tmp_path)) == sorted(
        [*foreign, *(file_name(date(2026, 11, day)) for day in (20, 21, 22))]
    )
    file.write("z", NOON_S + DAY_S)
    file.close()
    assert file_name(date(2026, 11, 20)) not in contents(tmp_path)
    assert trouble.reports == []


@pytest.mark.parametrize(
    ("retention_days", "removed"),
    [(0, []), (1, [10, 11, 20]), (2, [10, 11]), (11, [10]), (12, []), (10**9, [])],
)
def test_plan_removals(retention_days: int, removed: list[int]) -> None:
    """With N, a file is removed when its day ended N days ago; 0 keeps all."""
    names = [file_name(date(2026, 11, day)) for day in (22, 11, 10, 20, 21)]
    assert plan_removals(names, TODAY, retention_days) == [
        file_name(date(2026, 11, day)) for day in removed
    ]


def test_files_are_not_for_everyone(tmp_path: Path, trouble: Trouble) -> None:
    """A log file can be read by its owner and group alone."""
    file = DailyFile(tmp_path, 1, trouble)
    file.open(NOON_S)
    file.close()
    assert (tmp_path / file_name(TODAY)).stat().st_mode & 0o137 == 0


def test_a_full_disk(tmp_path: Path, trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that do not fit are lost and reported once; the next that fits stands on a line of its own."""
    file = DailyFile(tmp_path, 1, trouble)
    assert file.write("before", NOON_S)
    room = [3]
    real_write = os.write

    def write(descriptor: int, line: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real_write(descriptor, line[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write)
    assert not file.write("lost 1", NOON_S)
    assert not file.write("lost 2", NOON_S)
    monkeypatch.undo()
    assert file.write("after", NOON_S)
    file.close()
    assert (tmp_path / file_name(TODAY)).read_text() == "before\nlos\nafter\n"
    assert trouble.reports == [(tmp_path / file_name(TODAY), errno.ENOSPC)]


def test_odd_text(tmp_path: Path, trouble: Trouble) -> None:
    """What UTF-8 cannot encode is escaped."""
    file = DailyFile(tmp_path, 1, trouble)
    assert file.write("\ud800 ₿", NOON_S)
    file.close()
    assert (tmp_path / file_name(TODAY)).read_text(encoding="utf-8") == "\\ud800 ₿\n"
