"""What measurements are made with: a simulator and a collector as processes, and what they left.

Run as a script it is the simulator, told its settings as JSON:

    python -m tests.bench.lab '{"books_per_s": 250, "record_path": "sent"}'

Every process that is started here dies with the one that started it.
"""

import argparse
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

import msgspec
import pyarrow.parquet as pq
import trio

from trio_collector import layout
from trio_collector.events import Stream
from trio_collector.simulator import Simulation, Simulator, serve_simulator

Symbols = Mapping[str, Sequence[str]]

ROOT = Path(__file__).resolve().parents[2]
DATA_TYPES = ("orderbook", "trade", "unparsed")


def open_parser(text: str | None) -> argparse.ArgumentParser:
    """Return the parser of a measurement that `text`, its docstring, describes."""
    return argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def finish(*, is_good: bool) -> NoReturn:
    """Say how it was, and end."""
    print("good" if is_good else "NOT GOOD")
    sys.exit(not is_good)


def symbols_of(count: int) -> dict[str, tuple[str, ...]]:
    """Return `count` symbols of each exchange, in its spelling."""
    forms = {
        "binance": "C{:02}USDT",
        "coinbase": "C{:02}-USD",
        "upbit": "KRW-C{:02}",
        "okx": "C{:02}-USDT",
        "bybit": "C{:02}USDT",
    }
    return {name: tuple(form.format(i) for i in range(count)) for name, form in forms.items()}


# Becomes another program that the kernel kills when its parent is gone (PR_SET_PDEATHSIG, 1).
DIE_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def spawn(arguments: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start Python with `arguments`, as a process that ends, at the latest, when this one does."""
    command = [sys.executable, "-c", DIE_WITH_PARENT, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, **options)


@contextlib.contextmanager
def simulator(settings: Mapping[str, object]) -> Iterator[dict[str, str]]:
    """Run a simulator with `settings`; yield the `base_url` of each exchange, and its `ca_pem`."""
    process = spawn(
        ["-m", "tests.bench.lab", json.dumps(settings, default=str)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=10)


@contextlib.contextmanager
def collector(
    config: Path, log: Path, module: str = "trio_collector"
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the collector, or a module in its stead; kill it at the end if it still runs."""
    with log.open("ab") as stderr, log.with_suffix(".out").open("wb") as stdout:
        process = spawn(
            ["-m", module, "run", "--config", str(config.resolve())],
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "LOG_LEVEL": "info"},
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# However low the simulated rates are, nothing is taken for silence.
UNHURRIED = "data_timeout_secs = 600"


def write_config(
    directory: Path,
    urls: Mapping[str, str],
    exchanges: Symbols,
    storage: str = "",
    *,
    sections: str = "",
    market: str = UNHURRIED,
) -> Path:
    """Write the configuration that collects everything that is simulated.

    `storage` and `market` are lines of these sections, `sections` are others.
    """
    markets = "".join(
        f'[[markets]]\nexchange = "{name}"\nbase_url = "{urls[name]}"\n'
        f"symbols = {json.dumps(list(symbols))}\n{market}\n"
        for name, symbols in exchanges.items()
    )
    path = directory / "config.toml"
    path.write_text(
        f'{sections}\n[storage]\nmode = "local"\ndata_dir = "{directory}/spool"\n'
        f'local_path = "{directory}/archive"\nmin_free_bytes = 0\n{storage}\n{markets}'
    )
    return path


def log_events(log: Path, event: str) -> list[dict[str, Any]]:
    """Return the entries of a JSON log that tell of `event`."""
    mark = f'"event": "{event}"'.encode()
    lines = log.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines if mark in line]


def wait_live(log: Path, streams: int, patience_s: float = 120.0) -> None:
    """Wait until `streams` streams have had data."""
    deadline = time.monotonic() + patience_s
    while len(log_events(log, "stream live")) < streams:
        if time.monotonic() > deadline:
            raise SystemExit(f"not all of {streams} streams are live: see {log}")
        time.sleep(0.1)


class Row(NamedTuple):
    """A row on disk, short enough to keep millions of.

    An exchange may send the same bytes twice within a millisecond (Upbit's books have no ids). Such rows
    are told apart by `nth`: those of one read are always in one file.
    """

    stream: str  # exchange/symbol/data_type
    received_us: int
    digest: bytes
    nth: int


def digest_of(frame: bytes) -> bytes:
    return hashlib.blake2b(frame, digest_size=12).digest()


def rows_of(stream: Stream, batches: Iterable[Any]) -> Iterator[Row]:
    """Yield the rows of the Arrow batches of one file."""
    name = "/".join(stream)
    times: Counter[tuple[int, bytes]] = Counter()
    for batch in batches:
        columns = (batch[column].to_pylist() for column in ("timestamp_collector", "data"))
        for received_us, data in zip(*columns, strict=True):
            key = received_us, digest_of(data if isinstance(data, bytes) else data.encode())
            times[key] += 1
            yield Row(name, *key, times[key])


def sealed_rows(root: Path, path: Path) -> list[Row]:
    """Return the rows of the sealed file `path` below `root`."""
    place = layout.parse_segment_path(PurePosixPath(path.relative_to(root).as_posix()))
    assert place is not None, path
    table = pq.read_table(path, columns=["timestamp_collector", "data"])
    return list(rows_of(place.stream, [table]))


class Sent(NamedTuple):
    """One frame that the simulator says it sent; `offset` is where its line ends in the record."""

    stream: str
    digest: bytes
    size_bytes: int
    offset: int


def read_record(record: Path) -> Iterator[Sent]:
    """Yield what was sent, in the order in which it was."""
    offset = 0
    with record.open("rb") as lines:
        for line in lines:
            exchange, symbol, data_type, frame = line.rstrip(b"\n").split(b"\t", 3)
            offset += len(line)
            name = b"/".join((exchange, symbol, data_type)).decode()
            yield Sent(name, digest_of(frame), len(frame), offset)


class Growth:
    """When a file had which size, so that a place in it tells a time."""

    STEP_S = 0.01

    def __init__(self, path: Path) -> None:
        self._path = path
        self._times: list[float] = []
        self._sizes: list[int] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Growth":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def time_of(self, offset: int) -> float:
        """Return when the file had grown up to `offset`, on the wall clock."""
        return self._times[min(bisect_left(self._sizes, offset), len(self._times) - 1)]

    def size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _watch(self) -> None:
        while not self._is_over.wait(self.STEP_S):
            size = self.size()
            if not self._sizes or size > self._sizes[-1]:
                self._times.append(time.time())
                self._sizes.append(size)


class Usage(NamedTuple):
    """What a process has used so far, and what it holds now."""

    cpu_s: float
    rss_mb: float
    anonymous_mb: float


def usage_of(pid: int) -> Usage:
    """Return the usage of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    sizes = {
        line.split(":")[0]: int(line.split()[1]) / 1024
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    }
    return Usage(cpu_s, sizes["Rss"], sizes["Anonymous"])


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def _simulate(settings: Simulation) -> None:
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            running: Simulator = await nursery.start(serve_simulator, settings)
            urls = {name: running.base_url(name) for name in settings.exchanges}
            print(json.dumps({**urls, "ca_pem": running.ca_pem.decode()}), flush=True)
            async for _number in signals:
                nursery.cancel_scope.cancel()
                return


def main() -> None:
    settings = json.loads(sys.argv[1])
    for name in {"record_path", "entries_path"} & settings.keys():
        settings[name] = Path(settings[name])
    trio.run(_simulate, msgspec.convert(settings, Simulation))


if __name__ == "__main__":
    main()
