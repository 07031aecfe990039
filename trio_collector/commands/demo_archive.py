"""What a demo has stored: counted by stream, and lines for a shell that read it."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow.parquet as pq
from rich.table import Table

from trio_collector import layout
from trio_collector.events import Stream


class Stored(NamedTuple):
    """What the archive holds of one stream."""

    rows: int = 0
    files: int = 0
    size_bytes: int = 0

    def plus(self, rows: int, size_bytes: int) -> "Stored":
        return Stored(self.rows + rows, self.files + 1, self.size_bytes + size_bytes)


def read_archive(archive: Path, since_ms: int) -> dict[Stream, Stored]:
    """Return what those files in `archive` hold whose first row came at `since_ms` or later."""
    found: dict[Stream, Stored] = {}
    for path in sorted(archive.rglob(f"*{layout.SEALED}")):
        place = layout.parse_segment_path(PurePosixPath(path.relative_to(archive).as_posix()))
        if place is None or place.first_ms < since_ms:
            continue
        rows = pq.read_metadata(path).num_rows
        stored = found.get(place.stream, Stored())
        found[place.stream] = stored.plus(rows, path.stat().st_size)
    return found


def archive_table(stored: Mapping[Stream, Stored]) -> Table:
    """Return a table of what is stored, for a terminal."""
    table = Table("exchange", "symbol", "type", title="collected")
    for name in ("rows", "files", "bytes"):
        table.add_column(name, justify="right")
    for stream, held in sorted(stored.items()):
        table.add_row(*stream, *(f"{number:,}" for number in held))
    return table


def reading_lines(directory: Path) -> dict[str, str]:
    """Return, by library, a shell line that reads the trades in `directory`."""
    trades = str(directory / "archive/*/*/trade/**/*.parquet")
    one_stream = str(directory / "archive/binance/btcusdt/trade")
    files = "'" + trades.replace("'", "''") + "'"
    query = f"SELECT exchange, symbol, count(*) AS rows FROM {files} GROUP BY ALL ORDER BY ALL"
    programs = {
        "duckdb": f"import duckdb; duckdb.sql({query!r}).show()",
        "polars": f"import polars; print(polars.scan_parquet({trades!r})"
        ".group_by('exchange', 'symbol').len().collect())",
        "pandas": f"import pandas; print(pandas.read_parquet({one_stream!r}))",
    }
    python = shlex.quote(sys.executable)
    return {name: f"{python} -c {shlex.quote(text)}" for name, text in programs.items()}
