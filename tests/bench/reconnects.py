"""Thousands of reconnects: what they leave behind in memory, tasks and open files.

    python -m tests.bench.reconnects [--sessions N]

Another process simulates five exchanges that break connections at random: by RST, by FIN, by close
frames, in a frame. The collector runs in this script, started again as a process of its own, on 40
connections, with delays of a fraction of a second and without the exchanges' limits on connects.
Once a second it notes how many sessions there have been and what it holds. Compared are the medians
of the second quarter and of the last one; the first is left to warming up.
"""

import argparse
import gc
import json
import logging
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from tests.bench import lab
from trio_collector.app import collect, plan
from trio_collector.config.loading import load_config
from trio_collector.logs.setup import configure_logging
from trio_collector.telemetry import metrics

SYMBOLS = 4
KINDS = ("reset", "fin", "close_1001", "close_1011", "rsv1", "close_1005")
MOST_GROWTH_MB = 8.0


class Sample(NamedTuple):
    """What the collector holds at one moment."""

    sessions: int
    anonymous_mb: float
    tasks: int
    files: int
    objects: int


async def run_collector(config_path: Path, sessions: int) -> list[Sample]:
    """Collect until so many sessions have ended; return the samples."""
    config = load_config(config_path)
    websocket = msgspec.structs.replace(
        config.websocket, initial_retry_delay_secs=0.1, max_retry_delay_secs=0.3
    )
    config = msgspec.structs.replace(config, websocket=websocket)
    connections = plan(config, {})
    for connection in connections:
        connection.adapter.limits = connection.adapter.limits._replace(connects=())
    samples: list[Sample] = []
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, config, connections, stop)
        await watch(samples, sessions)
        stop.set()
    return samples


async def watch(samples: list[Sample], sessions: int) -> None:
    while not samples or samples[-1].sessions < sessions:
        await trio.sleep(1)
        gc.collect()
        samples.append(
            Sample(
                int(metrics.total(metrics.disconnects)),
                lab.usage_of(os.getpid()).anonymous_mb,
                trio.lowlevel.current_statistics().tasks_living,
                open_files(),
                len(gc.get_objects()),
            )
        )


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def run(directory: Path, options: argparse.Namespace) -> bool:
    """Run and judge."""
    exchanges = lab.symbols_of(SYMBOLS)
    log = directory / "log"
    settings = {
        "exchanges": exchanges,
        "faults": {"faults": [{"kind": kind, "rate": 0.01} for kind in KINDS]},
    }
    os.environ["SESSIONS"] = str(options.sessions)
    with lab.simulator(settings) as urls:
        config = lab.write_config(directory, urls, exchanges)
        with lab.collector(config, log, "tests.bench.reconnects") as process:
            code = process.wait(options.sessions)
    samples = [Sample(*each) for each in json.loads(log.with_suffix(".out").read_text())]
    first = [s for s in samples if 0.25 <= s.sessions / options.sessions < 0.5]
    last = [s for s in samples if s.sessions / options.sessions >= 0.75]
    print(f"{samples[-1].sessions:,} sessions ended in {len(samples)} s, exit code {code}")
    before, after = (
        Sample(*map(statistics.median, zip(*part, strict=True))) for part in (first, last)
    )
    for name in Sample._fields[1:]:
        print(f"  {name:13} {getattr(before, name):10,.1f} -> {getattr(after, name):10,.1f}")
    grown = after.anonymous_mb - before.anonymous_mb
    is_flat = grown <= MOST_GROWTH_MB and after.tasks <= before.tasks * 1.2
    return code == 0 and is_flat


def main() -> None:
    parser = lab.open_parser(__doc__)
    parser.add_argument("--sessions", type=int, default=2500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        is_good = run(Path(directory), options)
    lab.finish(is_good=is_good)


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        configure_logging(logging.INFO, "json")
        print(json.dumps(trio.run(run_collector, Path(sys.argv[-1]), int(os.environ["SESSIONS"]))))
    else:
        main()
