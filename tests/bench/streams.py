"""Many quiet streams: what 500 of them cost in CPU, memory and lateness of the event loop.

    python -m tests.bench.streams [--symbols N] [--rate N] [--seconds S] [--together N]

Another process simulates five exchanges. The collector runs inside of this script, started again as
a process of its own, so that beside it a task can note every 10 ms how late it was woken. Figures
are of the `--seconds` after all streams are live; before, connecting is held back by the exchanges'
limits (OKX allows 3 connects a second). Memory is that of /proc/PID/smaps_rollup.
"""

import argparse
import json
import logging
import signal
import sys
import tempfile
import time
from pathlib import Path

import trio

from tests.bench import lab
from trio_collector.app import collect, plan
from trio_collector.config.loading import load_config
from trio_collector.logs.setup import configure_logging

PROBE_S = 0.01
MAX_MB = 300.0
MAX_LAG_MS = 20.0


Samples = list[tuple[float, float]]  # Unix time, and how late the loop was, in seconds


async def run_collector(config_path: Path) -> Samples:
    """Collect until SIGTERM; return how late the loop was."""
    config = load_config(config_path)
    samples: Samples = []
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_lag, samples)
        nursery.start_soon(wait_sigterm, stop)
        await collect(config, plan(config, {}), stop)
        nursery.cancel_scope.cancel()
    return samples


async def watch_lag(samples: Samples) -> None:
    while True:
        due = trio.current_time() + PROBE_S
        await trio.sleep_until(due)
        samples.append((time.time(), trio.current_time() - due))


async def wait_sigterm(stop: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _number in signals:
            stop.set()


def run(directory: Path, options: argparse.Namespace) -> bool:
    """Measure and judge."""
    exchanges = lab.symbols_of(options.symbols)
    streams = 2 * options.symbols * len(exchanges)
    log, record = directory / "log", directory / "sent"
    settings = {"exchanges": exchanges, "record_path": record}
    settings |= dict.fromkeys(("books_per_s", "trades_per_s"), options.rate)
    with lab.simulator(settings) as urls:
        together = f"[websocket]\nstreams_per_connection = {options.together}"
        config = lab.write_config(directory, urls, exchanges, sections=together)
        with lab.collector(config, log, "tests.bench.streams") as process:
            began = time.monotonic()
            lab.wait_live(log, streams, 300)
            live_s = time.monotonic() - began
            time.sleep(2)  # for what came together at the start
            offset, begin, before = record.stat().st_size, time.time(), lab.usage_of(process.pid)
            usages = [before]
            while time.time() < begin + options.seconds:
                time.sleep(1)
                usages.append(lab.usage_of(process.pid))
            end, end_offset = time.time(), record.stat().st_size
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
    frames = sum(offset < frame.offset <= end_offset for frame in lab.read_record(record))
    print(
        f"{streams} streams, {-(-streams // options.together)} connections, live in {live_s:.0f} s"
    )
    print(f"{frames / (end - begin):,.0f} messages/s for {end - begin:.0f} s, exit code {code}")
    cpu = (usages[-1].cpu_s - before.cpu_s) / (end - begin)
    rss, anonymous = max(u.rss_mb for u in usages), max(u.anonymous_mb for u in usages)
    print(f"CPU {cpu:.1%}; at most {rss:.0f} MB RSS, {anonymous:.0f} MB of it anonymous")
    samples = json.loads(log.with_suffix(".out").read_text())
    lags = [lag * 1e3 for at, lag in samples if begin <= at <= end]
    p50, p99, p999 = (lab.quantile(lags, share) for share in (0.5, 0.99, 0.999))
    print(
        f"loop lag of {len(lags):,} samples: p50 {p50:.2f} ms, p99 {p99:.2f} ms,"
        f" p99.9 {p999:.2f} ms, max {max(lags):.2f} ms"
    )
    (stopped,) = lab.log_events(log, "stopped")
    print(f"{stopped['rows_received']:,} rows received, {stopped['rows_dropped']} dropped")
    return rss <= MAX_MB and p99 <= MAX_LAG_MS and code == 0 and stopped["rows_dropped"] == 0


def main() -> None:
    parser = lab.open_parser(__doc__)
    parser.add_argument("--symbols", type=int, default=50, help="of each exchange")
    parser.add_argument("--rate", type=float, default=2.0, help="messages/s of each stream")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--together", type=int, default=1, help="streams_per_connection")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        is_good = run(Path(directory), options)
    lab.finish(is_good=is_good)


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        configure_logging(logging.INFO, "json")
        print(json.dumps(trio.run(run_collector, Path(sys.argv[-1]))))
    else:
        main()
