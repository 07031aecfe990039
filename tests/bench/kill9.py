"""The collector is killed with SIGKILL, again and again, and has every row that it had written down.

    python -m tests.bench.kill9 [--kills N] [--seed N] [--life S]

Five simulated exchanges in a process of their own send to the real collector, which seals and
delivers all the time (max_file_age_secs = 1). It lives for a random while from its start on, so that
kills hit starts, recoveries, appends, seals and deliveries. After each kill the journals and sealed
files on disk are read: these rows were flushed. At the end it is stopped cleanly, and then

* every flushed row is in exactly one Parquet file, and no row at all is in two;
* no row is stored that was not sent;
* what was sent and is nowhere was sent within the flush interval before a kill, or was in a socket
  at the stop;
* no journal and no temporary file is left, and nothing is in quarantine.
"""

import argparse
import contextlib
import math
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.bench import lab
from trio_collector.format.journal_reader import JournalState, inspect_journal, open_journal

FLUSH_S = 1.0
# The record tells of a frame up to a tick of the simulator and a look at the file too late.
LATE_S = 0.2

SYMBOLS = 2  # of each exchange
STORAGE = f"flush_interval_secs = {FLUSH_S}\nmax_file_age_secs = 1\n"


class Seen(NamedTuple):
    """What was found on disk after the kills."""

    flushed: set[lab.Row]
    files: set[Path]  # sealed files that were read already
    states: Counter[str]  # kills at which something was there


def look(directory: Path, seen: Seen) -> None:
    """Add what is on disk, now that nobody writes."""
    spool, archive = directory / "spool", directory / "archive"
    journals = [path for path in spool.rglob("*.arrows") if "quarantine" not in path.parts]
    for path in journals:
        if inspect_journal(path) is JournalState.ROWS:
            with open_journal(path) as journal:
                seen.flushed.update(lab.rows_of(journal.header.stream, journal))
    for root in (spool, archive):
        for path in set(root.rglob("*.parquet")) - seen.files:
            seen.files.add(path)
            seen.flushed.update(lab.sealed_rows(root, path))
    waiting = list(spool.rglob("*.parquet"))
    seen.states["with open journals"] += bool(journals)
    seen.states["with a half-sealed file"] += any(spool.rglob("*.tmp"))
    seen.states["with sealed files waiting"] += bool(waiting)
    seen.states["between rename and delete"] += any(
        path.with_suffix(".arrows").exists() for path in waiting
    )


def run(directory: Path, options: argparse.Namespace) -> bool:
    """Kill and look, stop cleanly, and judge."""
    record, seen = directory / "sent", Seen(set(), set(), Counter())
    exchanges = lab.symbols_of(SYMBOLS)
    streams = 2 * SYMBOLS * len(exchanges)
    settings = {"exchanges": exchanges, "record_path": record}
    settings |= dict.fromkeys(("books_per_s", "trades_per_s"), options.rate / streams)
    with lab.simulator(settings) as urls, lab.Growth(record) as growth:
        config = lab.write_config(directory, urls, exchanges, STORAGE)
        ends = kill_often(directory, config, seen, options)
        with lab.collector(config, directory / "last.log") as process:
            lab.wait_live(directory / "last.log", streams)
            ends.append(time.time())
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
    archive = directory / "archive"
    files = sorted(archive.rglob("*.parquet"))
    stored = Counter(row for path in files for row in lab.sealed_rows(archive, path))
    print(f"{len(stored):,} rows stored (with status rows) in {len(files):,} files")
    is_sound = judge_files(directory, seen, stored)
    oldest_s = judge_missing(record, stored, growth, ends)
    print(f"exit code of the clean stop: {code}")
    return is_sound and oldest_s <= FLUSH_S + options.slack and code == 0


def kill_often(
    directory: Path, config: Path, seen: Seen, options: argparse.Namespace
) -> list[float]:
    """Let the collector live and die; return when it died."""
    dice = random.Random(options.seed)
    ends = []
    started = time.monotonic()
    for _ in range(options.kills):
        with lab.collector(config, directory / "log") as process:
            if options.writing:
                wait_writing(directory / "spool", time.time(), process)
            time.sleep(dice.uniform(0.3, options.life))
            assert process.poll() is None, "the collector ended by itself"
            ends.append(time.time())
            process.kill()
            process.wait()
        look(directory, seen)
    print(f"{options.kills} kills in {time.monotonic() - started:.0f} s", flush=True)
    for state, kills in seen.states.items():
        print(f"  {kills} {state}")
    return ends


def wait_writing(spool: Path, since: float, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a journal has grown `since` then, whatever the machine does beside that."""
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # sealed while it was looked at
            if any(path.stat().st_mtime > since for path in spool.rglob("*.arrows")):
                return
        time.sleep(0.05)


def judge_files(directory: Path, seen: Seen, stored: Counter[lab.Row]) -> bool:
    """Say what became of the rows that were flushed, and of files that are none of the archive's."""
    lost = [row for row in seen.flushed if stored[row] == 0]
    twice = [row for row, times in stored.items() if times > 1]
    print(f"{len(seen.flushed):,} rows (with status rows) were seen on disk after a kill")
    print(f"  {len(lost)} of them lost, {len(twice)} rows stored twice")
    left = [path for path in (directory / "spool").rglob("*") if path.is_file()]
    left = [path for path in left if path.name != ".lock"]
    left += (directory / "archive").rglob("*.tmp")
    print(f"{len(left)} files left that are not sealed and delivered")
    return bool(seen.flushed) and not (lost or twice or left)


def judge_missing(
    record: Path, stored: Counter[lab.Row], growth: lab.Growth, ends: list[float]
) -> float:
    """Say what was sent and is not stored; return how long before a kill the oldest was sent."""
    missing, unsent, sent = compare(record, stored)
    times = [growth.time_of(each.offset) for each in missing]
    ages = [age_before(time_, ends) for time_ in times]
    at_stop = sum(time_ > ends[-1] - LATE_S for time_ in times)
    late, oldest_s = sum(age > FLUSH_S for age in ages), max(ages, default=0.0)
    kills = max(1, len(ends) - 1)
    print(f"{sent:,} frames sent, {unsent} stored that were never sent")
    print(f"{len(missing):,} sent and not stored, {len(missing) / kills:.0f} for each kill;")
    print(f"  {at_stop} of them in sockets at the clean stop;")
    print(f"  the oldest was sent {oldest_s:.3f} s before its kill; flush interval {FLUSH_S:g} s,")
    print(f"  {late} were sent longer before")
    return math.inf if unsent else oldest_s


def age_before(sent_at: float, ends: list[float]) -> float:
    """Return how long before the next end of a process something was sent."""
    return max(0.0, min((end - sent_at for end in ends if end >= sent_at - LATE_S), default=1e9))


def compare(record: Path, stored: Counter[lab.Row]) -> tuple[list[lab.Sent], int, int]:
    """Return the frames that were sent and not stored, and how many are stored and were sent."""
    rest: Counter[tuple[str, bytes]] = Counter()
    for row, times in stored.items():
        if row.stream.endswith(lab.DATA_TYPES):
            rest[row.stream, row.digest] += times
    missing, sent = [], 0
    for each in lab.read_record(record):
        sent += 1
        if rest[each.stream, each.digest] > 0:
            rest[each.stream, each.digest] -= 1
        else:
            missing.append(each)
    return missing, rest.total(), sent


def main() -> None:
    parser = lab.open_parser(__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--life", type=float, default=4.0, help="longest life of a process, s")
    parser.add_argument(
        "--writing", action="store_true", help="a life counts from the first row on"
    )
    # A round of the writer, the way through the sockets, the steps in which the record is watched.
    parser.add_argument("--slack", type=float, default=0.5, help="allowed beyond the interval, s")
    parser.add_argument("--rate", type=float, default=2000.0, help="messages a second, in total")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        is_good = run(Path(directory), options)
    lab.finish(is_good=is_good)


if __name__ == "__main__":
    try:
        main()
    except subprocess.TimeoutExpired as exc:
        sys.exit(f"a process hangs: {exc}")
