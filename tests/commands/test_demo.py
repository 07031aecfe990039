"""The demo as its first user runs it: five exchanges, files, and lines that read them."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from trio_collector.commands import demo
from trio_collector.events import DataType, Stream
from trio_collector.simulator import Simulation, Simulator, serve_simulator

SECONDS = "3"
EXCHANGES = ("binance", "bybit", "coinbase", "okx", "upbit")
DATA = (DataType.ORDERBOOK, DataType.TRADE)
TOTAL = re.compile(r"Every one of the ([\d,]+) frames sent is stored, once\.")

# A busy machine makes it; it says nothing about the demo.
STALL = "event loop stalled"

RunCli = Callable[..., subprocess.CompletedProcess[str]]
ReadFrames = Callable[[Path], dict[Stream, list[bytes]]]


def told_rows(output: str) -> dict[Stream, int]:
    """Return the rows in the summary, by stream."""
    cells = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in output.splitlines()
        if line.count("│") == 7
    ]
    return {
        Stream(exchange, symbol, DataType(kind)): int(rows.replace(",", ""))
        for exchange, symbol, kind, rows, _files, _bytes in cells
    }


def complaints(stderr: str) -> list[str]:
    """Return the lines on standard error, but for those that tell of a busy machine."""
    return [line for line in stderr.splitlines() if STALL not in line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name has to be quoted in a shell."""
    return tmp_path / "it's a demo"


def test_demo(
    folder: Path,
    run_cli: RunCli,
    stored_frames: ReadFrames,
    cli_environment: Callable[..., dict[str, str]],
) -> None:
    """It ends with 0, the files hold what the summary says, and the printed lines read them.

    A second demo in the same folder does the same, and counts its own rows alone.
    """
    first = run_cli("demo", "--seconds", SECONDS, "--dir", str(folder))
    assert (first.returncode, complaints(first.stderr)) == (0, [])
    stored = stored_frames(folder / "archive")
    assert told_rows(first.stdout) == {name: len(frames) for name, frames in stored.items()}
    data = {name: frames for name, frames in stored.items() if name.data_type in DATA}
    assert {(name.exchange, name.data_type) for name in data} == {
        (exchange, kind) for exchange in EXCHANGES for kind in DATA
    }
    total = TOTAL.search(first.stdout)
    assert total is not None
    assert int(total[1].replace(",", "")) == sum(map(len, data.values()))
    read_with_printed_lines(first.stdout, data, cli_environment())
    second = run_cli("demo", "--seconds", "1", "--dir", str(folder))
    assert (second.returncode, complaints(second.stderr)) == (0, [])
    both = stored_frames(folder / "archive")
    more = {name: len(frames) - len(stored[name]) for name, frames in both.items()}
    assert {name: rows for name, rows in more.items() if rows} == told_rows(second.stdout)


def read_with_printed_lines(
    output: str, data: dict[Stream, list[bytes]], environment: dict[str, str]
) -> None:
    """Run each line that the demo printed for a shell; it prints as many rows as there are."""
    lines = {
        name: line
        for line in output.splitlines()
        for name in ("duckdb", "polars", "pandas")
        if f"import {name};" in line
    }
    assert len(lines) == 3
    trades = {name: len(rows) for name, rows in data.items() if name.data_type is DataType.TRADE}
    environment["POLARS_FMT_MAX_ROWS"] = "100"
    for library, line in lines.items():
        done = subprocess.run(
            line, shell=True, capture_output=True, text=True, timeout=60, env=environment
        )
        assert (done.returncode, done.stderr) == (0, ""), library
        if library == "pandas":
            one = trades[Stream("binance", "btcusdt", DataType.TRADE)]
            assert f"[{one} rows x 6 columns]" in done.stdout or done.stdout.count('{"stream"')
            continue
        for (exchange, symbol, _kind), rows in trades.items():
            cells = rf"{exchange}\s*[│┆]\s*{symbol}\s*[│┆]\s*{rows}\b"
            assert re.search(cells, done.stdout), (library, exchange, symbol)


async def test_files_hold_what_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored_frames: ReadFrames
) -> None:
    """Every row is byte for byte a frame that the simulator sent; none is missing, none twice."""
    simulators: list[Simulator] = []

    async def serve_recording(
        settings: Simulation, *, task_status: trio.TaskStatus[Simulator]
    ) -> None:
        async with trio.open_nursery() as nursery:
            recording = Simulation(seed=settings.seed, is_recording=True)
            simulators.append(await nursery.start(serve_simulator, recording))
            task_status.started(simulators[0])

    monkeypatch.setattr(demo, "serve_simulator", serve_recording)
    assert await demo.run_demo(tmp_path, 1.5, trio.Event())
    stored = stored_frames(tmp_path / "archive")
    (simulator,) = simulators
    assert {
        (*name[:2], name.data_type.value): frames
        for name, frames in stored.items()
        if name.data_type is not DataType.STATUS
    } == simulator.sent.frames


async def test_demo_ends_when_asked(
    tmp_path: Path, stored_frames: ReadFrames, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends the demo early, and as cleanly as the end of its time."""
    stop = trio.Event()
    stop.set()
    with trio.fail_after(20):
        assert await demo.run_demo(tmp_path, 3600, stop)
    assert TOTAL.search(capsys.readouterr().out)


async def test_demo_tells_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the files do not hold what was sent, it prints where, and fails."""
    monkeypatch.setattr(demo, "read_archive", lambda _archive, _since_ms: {})
    assert not await demo.run_demo(tmp_path, 1, trio.Event())
    output = capsys.readouterr().out
    assert re.search(r"okx/\w+/orderbook: sent \d+, stored 0", output)
    assert "The files do not hold what was sent." in output
