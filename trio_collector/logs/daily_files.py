"""Log files: one for each UTC day, `trio_collector-2026-11-22.log`, removed when they are old.

Lines are appended whole, so a restart continues the file of the day, and two processes may share a
folder. A file that cannot be written affects nothing else: its lines are counted as lost, the error
is logged once (standard error has every line, too), and each further line is another attempt.
"""

import os
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

_NAME = re.compile(r"trio_collector-(\d{4}-\d{2}-\d{2})\.log")


def file_name(day: date) -> str:
    """Return the name of the log file of `day`; `_day_of` mirrors it."""
    return f"trio_collector-{day.isoformat()}.log"


def _day_of(name: str) -> date | None:
    match = _NAME.fullmatch(name)
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:  # 2026-13-32
        return None


def plan_removals(names: Iterable[str], today: date, retention_days: int) -> list[str]:
    """Return those of `names` that are log files of more than `retention_days` days ago.

    With 1, the files of today and yesterday are kept. 0 keeps all.
    """
    if retention_days == 0:
        return []
    oldest = today - timedelta(days=min(retention_days, today.toordinal() - 1))
    return sorted(name for name in names if (day := _day_of(name)) and day < oldest)


def write_all(descriptor: int, line: bytes) -> None:
    """Write the whole of `line`; raises OSError, after which a part of it may be written."""
    while line:
        line = line[os.write(descriptor, line) :]


class DailyFile:
    """The log file of the current day; `report` is called with the first of several errors."""

    def __init__(
        self, folder: Path, retention_days: int, report: Callable[[Path, OSError], None]
    ) -> None:
        self._folder = folder
        self._retention_days = retention_days
        self._report = report
        self._day: date | None = None
        self._descriptor: int | None = None
        self._is_failing = False

    def write(self, line: str, created_s: float) -> bool:
        """Append `line` to the file of the day of `created_s`, Unix time; False if it is lost."""
        day = datetime.fromtimestamp(created_s, UTC).date()
        # A line from just before midnight may come after the first of the new day: same file.
        day = max(day, self._day or day)
        try:
            descriptor = self._open(day)
            # The failed attempt may have left half a line.
            start = "\n" if self._is_failing else ""
            write_all(descriptor, f"{start}{line}\n".encode(errors="backslashreplace"))
        except OSError as exc:
            self.close()
            if not self._is_failing:
                self._is_failing = True
                self._report(self._folder / file_name(day), exc)
            return False
        self._is_failing = False
        return True

    def open(self, now_s: float) -> None:
        """Open the file of the day, so that a wrong folder shows at the start; raises OSError."""
        self._open(datetime.fromtimestamp(now_s, UTC).date())

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _open(self, day: date) -> int:
        if self._descriptor is None or day != self._day:
            self.close()
            self._folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            # Readable for the operator's group, and for nobody else.
            self._descriptor = os.open(self._folder / file_name(day), flags, 0o640)
            self._day = day
            self._remove_old(day)
        return self._descriptor

    def _remove_old(self, today: date) -> None:
        names = os.listdir(self._folder)  # noqa: PTH208 - the plan takes names, not paths
        for name in plan_removals(names, today, self._retention_days):
            (self._folder / name).unlink(missing_ok=True)
