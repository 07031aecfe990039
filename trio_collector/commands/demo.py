"""The command `demo`: the real collector beside five simulated exchanges, in one process and offline.

The markets pause before the collector stops, and the collector is given time to receive what was
sent before. So the files hold exactly the frames that the simulator has sent, and the demo ends by
comparing the two counts.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec
import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from trio_collector.app import collect, plan
from trio_collector.commands.demo_archive import (
    Stored,
    archive_table,
    read_archive,
    reading_lines,
)
from trio_collector.config.markets import Market
from trio_collector.config.settings import CollectorSection, Config, StorageSection
from trio_collector.events import DataType, Stream
from trio_collector.simulator.server import Simulator, serve_simulator
from trio_collector.simulator.settings import DEFAULT_EXCHANGES, Simulation
from trio_collector.telemetry.live_state import LiveState

REFRESH_S = 0.5
SETTLE_S = 5.0  # for what was sent when the markets pause
STEP_S = 0.05
DATA_TYPES = (DataType.ORDERBOOK, DataType.TRADE)


async def run_demo(directory: Path, seconds: float, stop: trio.Event) -> bool:
    """Collect for `seconds`, or until `stop` is set, into `directory`; show what was stored.

    False if the files do not hold exactly what was sent. Raises DataDirLocked if another demo
    runs in `directory`.
    """
    console = Console()
    started_ms = time.time_ns() // 1_000_000
    async with trio.open_nursery() as nursery:
        simulator = await nursery.start(serve_simulator, Simulation(seed=started_ms))
        await _show_collecting(console, _config(simulator, directory), simulator, seconds, stop)
        sent = _sent(simulator)
        nursery.cancel_scope.cancel()
    stored = read_archive(_archive(directory), started_ms)
    _show_archive(console, directory, stored)
    return _compare(console, sent, stored)


async def _show_collecting(
    console: Console, config: Config, simulator: Simulator, seconds: float, stop: trio.Event
) -> None:
    progress = _Progress(seconds)
    with Live(get_renderable=progress.render, console=console, refresh_per_second=1 / REFRESH_S):
        await _collect_for(seconds, stop, config, simulator, progress.live)
    if not console.is_terminal:
        console.line()  # rich ends the last line of a live table on terminals alone


async def _collect_for(
    seconds: float, stop: trio.Event, config: Config, simulator: Simulator, live: LiveState
) -> None:
    """Run the collector for `seconds`; then let it catch up with what was sent, and stop it."""
    stop_collector = trio.Event()
    connections = plan(config, {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(collect, live=live), config, connections, stop_collector)
        with trio.move_on_after(seconds):
            await stop.wait()
        simulator.pause()
        await simulator.wait_sent()
        with trio.move_on_after(SETTLE_S):
            await _wait_lasting(lambda: _has_caught_up(live, simulator))
        stop_collector.set()


def _has_caught_up(live: LiveState, simulator: Simulator) -> bool:
    """Return whether all connections are open and have received all that was sent."""
    is_connected = all(each.is_up for each in live.connections.values())
    return is_connected and _received(live) == _sent(simulator)


async def _wait_lasting(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds twice: a new connection has yet to receive its snapshot."""
    times = 0
    while times < 2:
        await trio.sleep(STEP_S)
        times = times + 1 if condition() else 0


def _archive(directory: Path) -> Path:
    return directory / "archive"


def _config(simulator: Simulator, directory: Path) -> Config:
    return Config(
        collector=CollectorSection(metrics_port=0),
        storage=StorageSection(
            mode="local",
            data_dir=str(directory / "spool"),
            local_path=str(_archive(directory)),
            min_free_bytes=0,
        ),
        markets=tuple(_market(simulator, exchange) for exchange in DEFAULT_EXCHANGES),
    )


def _market(simulator: Simulator, exchange: str) -> Market:
    table = {
        "exchange": exchange,
        "symbols": DEFAULT_EXCHANGES[exchange],
        "base_url": simulator.base_url(exchange),
    }
    return msgspec.convert(table, Market)


def _sent(simulator: Simulator) -> Counter[Stream]:
    """Return how many data frames the simulator has sent, by stream."""
    return Counter(
        {
            Stream(key.exchange, key.symbol, DataType(key.data_type)): count
            for key, count in simulator.sent.counts.items()
        }
    )


def _received(live: LiveState) -> Counter[Stream]:
    """Return how many rows of data the collector has received, by stream."""
    return Counter({stream: each.rows for stream, each in live.streams.items()})


class _Progress:
    """What a person sees of the demo while it collects."""

    def __init__(self, seconds: float) -> None:
        self.live = LiveState()
        self._seconds = seconds
        self._started = time.monotonic()

    def render(self) -> Table:
        elapsed_s = min(self._seconds, time.monotonic() - self._started)
        title = f"collecting, {elapsed_s:.0f} of {self._seconds:g} s"
        table = Table(title=title, caption=self.live.url and f"status page: {self.live.url}")
        table.add_column("exchange")
        for data_type in DATA_TYPES:
            table.add_column(f"{data_type} rows", justify="right")
        rows: Counter[tuple[str, DataType]] = Counter()
        for stream, count in _received(self.live).items():
            rows[stream.exchange, stream.data_type] += count
        for exchange in DEFAULT_EXCHANGES:
            table.add_row(exchange, *(str(rows[exchange, kind]) for kind in DATA_TYPES))
        return table


def _show_archive(console: Console, directory: Path, stored: Mapping[Stream, Stored]) -> None:
    console.print(archive_table(stored))
    console.print(f"\n{len(stored)} streams in {_archive(directory)}. To read them:\n")
    for line in reading_lines(directory).values():
        console.print(line, highlight=False, soft_wrap=True)


def _compare(console: Console, sent: Counter[Stream], stored: Mapping[Stream, Stored]) -> bool:
    """Compare what was sent with what is stored, and print the result; True if they agree."""
    rows = Counter({s: held.rows for s, held in stored.items() if s.data_type in DATA_TYPES})
    if rows == sent:
        console.print(f"\nEvery one of the {sent.total():,} frames sent is stored, once.")
        return True
    for stream in sorted(sent.keys() | rows.keys()):
        if sent[stream] != rows[stream]:
            console.print(f"{'/'.join(stream)}: sent {sent[stream]}, stored {rows[stream]}")
    console.print("\nThe files do not hold what was sent.", style="bold red")
    return False
