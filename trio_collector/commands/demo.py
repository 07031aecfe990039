"""The demo: the real collector beside five simulated exchanges, in one process and offline.

The markets pause before the collector stops, and the collector is given time to receive what is
still on its way. So the files hold exactly the frames that the simulator says it has sent, and the
demo ends by comparing the two counts.
"""

import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec
import pyarrow.parquet as pq
import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from trio_collector import layout
from trio_collector.app import collect, plan
from trio_collector.config.markets import Market
from trio_collector.config.settings import CollectorSection, Config, StorageSection
from trio_collector.events import DataType, Stream
from trio_collector.simulator.server import Simulator, serve_simulator
from trio_collector.simulator.settings import DEFAULT_EXCHANGES, Simulation
from trio_collector.telemetry import metrics
from trio_collector.telemetry.live_state import LiveState

REFRESH_S = 0.5
SETTLE_S = 5.0  # for what is on its way when the markets pause
STEP_S = 0.05
DATA_TYPES = frozenset({DataType.ORDERBOOK, DataType.TRADE})


class Stored(NamedTuple):
    """What the archive holds of one stream."""

    rows: int = 0
    files: int = 0
    size_bytes: int = 0

    def plus(self, rows: int, size_bytes: int) -> "Stored":
        return Stored(self.rows + rows, self.files + 1, self.size_bytes + size_bytes)


async def run_demo(directory: Path, seconds: float, stop: trio.Event) -> bool:
    """Collect for `seconds`, or until `stop` is set, into `directory`; show what came of it.

    False if the files do not hold exactly what was sent. Raises DataDirLocked if another demo
    runs in `directory`.
    """
    console = Console()
    started_ms = time.time_ns() // 1_000_000
    async with trio.open_nursery() as nursery:
        simulator = await nursery.start(serve_simulator, Simulation(seed=started_ms))
        config = _config(simulator, directory)
        progress = _Progress(seconds)
        with Live(
            get_renderable=progress.render, console=console, refresh_per_second=1 / REFRESH_S
        ):
            await _collect_for(seconds, stop, config, simulator, progress)
        if not console.is_terminal:
            console.line()  # rich ends the last line of a live table on terminals alone
        sent = _sent(simulator)
        nursery.cancel_scope.cancel()
    stored = read_archive(Path(config.storage.local_path), started_ms)
    console.print(_summary(stored))
    console.print(f"\n{len(stored)} streams in {config.storage.local_path}. To read them:\n")
    for line in reading_lines(directory).values():
        console.print(line, highlight=False, soft_wrap=True)
    return _report(console, sent, stored)


async def _collect_for(
    seconds: float, stop: trio.Event, config: Config, simulator: Simulator, progress: "_Progress"
) -> None:
    """Run the collector for `seconds`; then let it catch up with what was sent, and stop it."""
    stop_collector = trio.Event()
    connections = plan(config, {})

    def is_settled() -> bool:
        is_connected = metrics.total(metrics.websocket_connected) >= len(connections)
        return is_connected and progress.received() == _sent(simulator)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(collect, live=progress.live), config, connections, stop_collector
        )
        with trio.move_on_after(seconds):
            await stop.wait()
        simulator.pause()
        await simulator.wait_sent()
        with trio.move_on_after(SETTLE_S):
            await _wait_lasting(is_settled)
        stop_collector.set()


async def _wait_lasting(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds twice: who has just connected is still to get a snapshot."""
    times = 0
    while times < 2:
        await trio.sleep(STEP_S)
        times = times + 1 if condition() else 0


def _config(simulator: Simulator, directory: Path) -> Config:
    return Config(
        collector=CollectorSection(metrics_port=0),
        storage=StorageSection(
            mode="local",
            data_dir=str(directory / "spool"),
            local_path=str(directory / "archive"),
            min_free_bytes=0,
        ),
        markets=tuple(
            msgspec.convert(
                {
                    "exchange": exchange,
                    "symbols": symbols,
                    "base_url": simulator.base_url(exchange),
                },
                Market,
            )
            for exchange, symbols in DEFAULT_EXCHANGES.items()
        ),
    )


def _sent(simulator: Simulator) -> Counter[Stream]:
    """Return how many data frames the simulator has sent, by stream."""
    return Counter(
        {
            Stream(key.exchange, key.symbol, DataType(key.data_type)): count
            for key, count in simulator.sent.counts.items()
        }
    )


class _Progress:
    """What has been received since the demo began."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started = time.monotonic()
        self.live = LiveState()
        self._before = metrics.received_rows()

    def received(self) -> Counter[Stream]:
        rows = metrics.received_rows() - self._before
        return Counter({s: n for s, n in rows.items() if s.data_type in DATA_TYPES})

    def render(self) -> Table:
        elapsed_s = min(self._seconds, time.monotonic() - self._started)
        rows = self.received()
        title = f"collecting, {elapsed_s:.0f} of {self._seconds:g} s"
        table = Table(title=title, caption=self.live.url and f"status page: {self.live.url}")
        table.add_column("exchange")
        for data_type in sorted(DATA_TYPES):
            table.add_column(f"{data_type} rows", justify="right")
        for exchange in DEFAULT_EXCHANGES:
            counts = [
                sum(n for s, n in rows.items() if s.exchange == exchange and s.data_type == kind)
                for kind in sorted(DATA_TYPES)
            ]
            table.add_row(exchange, *map(str, counts))
        return table


def read_archive(archive: Path, since_ms: int) -> dict[Stream, Stored]:
    """Return what the files in `archive` hold that were begun at `since_ms` or later."""
    found: dict[Stream, Stored] = {}
    for path in sorted(archive.rglob(f"*{layout.SEALED}")):
        place = layout.parse_segment_path(PurePosixPath(path.relative_to(archive).as_posix()))
        if place is None or place.first_ms < since_ms:
            continue
        rows = pq.read_metadata(path).num_rows
        stored = found.get(place.stream, Stored())
        found[place.stream] = stored.plus(rows, path.stat().st_size)
    return found


def _summary(stored: Mapping[Stream, Stored]) -> Table:
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


def _report(console: Console, sent: Counter[Stream], stored: Mapping[Stream, Stored]) -> bool:
    """Compare what was sent with what is stored, and say so."""
    rows = Counter({s: held.rows for s, held in stored.items() if s.data_type in DATA_TYPES})
    if rows == sent:
        console.print(f"\nEvery one of the {sent.total():,} frames sent is stored, once.")
        return True
    for stream in sorted(sent.keys() | rows.keys()):
        if sent[stream] != rows[stream]:
            console.print(f"{'/'.join(stream)}: sent {sent[stream]}, stored {rows[stream]}")
    console.print("\nThe files do not hold what was sent.", style="bold red")
    return False
