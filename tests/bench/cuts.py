"""An exchange that ends every connection at an age: 40 of them at once, with handover and without.

    python -m tests.bench.cuts [--age S] [--seconds S] [--rate N]

Another process simulates five exchanges and cuts each connection when it is `--age` old, as Binance
does after 24 hours. The collector runs in this script, started again as a process of its own. Once
its adapters know of the age, so that it leaves before; and once they do not. `truth.py` judges both:
with handover nothing may be missing, without it every missing id must be in a gap of the ledger, and
every end must be there.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import trio

from tests.bench import lab, truth
from trio_collector.app import collect, plan
from trio_collector.config.loading import load_config
from trio_collector.logs.setup import configure_logging

SYMBOLS = 4


async def run_collector(config_path: Path, age_s: float | None) -> None:
    """Collect until SIGTERM, with adapters that take `age_s` for the age limit."""
    config = load_config(config_path)
    connections = plan(config, {})
    for connection in connections:
        connection.adapter.max_session_s = age_s
        # The exchange is ours, and its limits would spread the cuts.
        connection.adapter.limits = connection.adapter.limits._replace(connects=())
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, config, connections, stop)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _number in signals:
                stop.set()
                return


def run(directory: Path, options: argparse.Namespace, *, hands_over: bool) -> bool:
    """Run one way, and judge."""
    exchanges = lab.symbols_of(SYMBOLS)
    entries, log = directory / "entries", directory / "log"
    settings = {
        "exchanges": exchanges,
        "entries_path": entries,
        "books_per_s": 10 * options.rate,
        "trades_per_s": 5 * options.rate,
        "faults": {"faults": [{"kind": "day_cut", "after_s": options.age}]},
    }
    os.environ["AGE_S"] = str(options.age) if hands_over else ""
    with lab.simulator(settings) as urls:
        config = lab.write_config(directory, urls, exchanges)
        with lab.collector(config, log, "tests.bench.cuts") as process:
            lab.wait_live(log, 2 * SYMBOLS * len(exchanges))
            time.sleep(options.seconds)
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
    verdicts = truth.judge(entries, directory / "archive")
    _data, ledger = truth.read_rows(directory / "archive")
    rows = [row for stream in ledger.values() for row in stream]
    ends = [row["reason"] for row in rows if row["event"] == "disconnected"]
    missing = [row["missing"] for row in rows if row["event"] == "gap"]
    faults = [f"{'/'.join(each.name)}: {text}" for each in verdicts for text in each.faults]
    print(f"{'with' if hands_over else 'without'} handover: exit code {code}, {len(ends)} ends")
    print(
        f"  sent {sum(v.sent for v in verdicts):,} over all connections, stored"
        f" {sum(v.stored for v in verdicts):,}, copies {sum(v.copies for v in verdicts):,},"
        f" unread {sum(v.tail for v in verdicts)}"
    )
    told = sum(number for number in missing if number is not None)
    print(f"  {len(missing)} gaps, {told:,} ids missing in those that tell a number")
    for fault in faults[:10]:
        print(f"  BAD {fault}")
    is_whole = not missing and set(ends) <= {"handover"}
    return code == 0 and not faults and bool(ends) and (is_whole or not hands_over)


def main() -> None:
    parser = lab.open_parser(__doc__)
    parser.add_argument("--age", type=float, default=30.0, help="seconds")
    parser.add_argument("--seconds", type=float, default=75.0)
    parser.add_argument("--rate", type=float, default=2.0, help="times 15 messages/s of a market")
    options = parser.parse_args()
    is_good = True
    for hands_over in (True, False):
        with tempfile.TemporaryDirectory() as directory:
            is_good &= run(Path(directory), options, hands_over=hands_over)
    lab.finish(is_good=is_good)


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        configure_logging(logging.INFO, "json")
        age = os.environ["AGE_S"]
        trio.run(run_collector, Path(sys.argv[-1]), float(age) if age else None)
    else:
        main()
