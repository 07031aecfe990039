"""SIGTERM under load: how long the drain takes, and whether every row that was received is stored.

    python -m tests.bench.sigterm [--rate N] [--seconds S]

Another process simulates five exchanges, four markets of each, and the real collector has one
connection for each of the 40 feeds. When all are live and `--seconds` have passed it gets SIGTERM.
Compared are the rows that it says it received, those in Parquet, and the frames that the simulator
says it handed to the kernel: for each connection the difference must be its last frames, which were
still in the sockets.
"""

import argparse
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.bench import lab

SYMBOLS = 4
EXIT_S = 5.0


def run(directory: Path, options: argparse.Namespace) -> bool:
    """Run, stop and judge."""
    exchanges = lab.symbols_of(SYMBOLS)
    streams = 2 * SYMBOLS * len(exchanges)
    record, log = directory / "sent", directory / "log"
    each = options.rate / streams
    settings = {
        "exchanges": exchanges,
        "record_path": record,
        "books_per_s": each,
        "trades_per_s": each,
    }
    with lab.simulator(settings) as urls:
        config = lab.write_config(directory, urls, exchanges)
        with lab.collector(config, log) as process:
            lab.wait_live(log, streams)
            begin, before = time.monotonic(), lab.usage_of(process.pid)
            start_offset = record.stat().st_size
            time.sleep(options.seconds)
            after = lab.usage_of(process.pid)
            stop_offset = record.stat().st_size
            seconds = time.monotonic() - begin
            process.send_signal(signal.SIGTERM)
            signalled = time.monotonic()
            code = process.wait(60)
            exit_s = time.monotonic() - signalled
    sent = list(lab.read_record(record))
    rate = sum(start_offset < frame.offset <= stop_offset for frame in sent) / seconds
    print(f"{streams} connections, {rate:,.0f} messages/s for {seconds:.1f} s")
    cpu = (after.cpu_s - before.cpu_s) / seconds
    print(
        f"  collector: {cpu:.0%} CPU, {after.rss_mb:.0f} MB RSS, {after.anonymous_mb:.0f} anonymous"
    )
    print(f"exit code {code}, {exit_s:.2f} s after SIGTERM (to be within {EXIT_S:g} s)")
    (stopped,) = lab.log_events(log, "stopped")
    return judge(directory, sent, stopped) and code == 0 and exit_s <= EXIT_S


def judge(directory: Path, sent: list[lab.Sent], stopped: dict[str, Any]) -> bool:
    """Compare what was sent, received and stored; print it."""
    archive = directory / "archive"
    stored: dict[str, list[bytes]] = {}
    for path in sorted(archive.rglob("*.parquet")):
        for row in lab.sealed_rows(archive, path):
            if row.stream.endswith(lab.DATA_TYPES):
                stored.setdefault(row.stream, []).append(row.digest)
    rows = sum(map(len, stored.values()))
    received, dropped = stopped["rows_received"], stopped["rows_dropped"]
    print(f"{received:,} rows received, {rows:,} in Parquet, {dropped} dropped")
    unread: Counter[str] = Counter()
    unread_bytes = strange = 0
    position: Counter[str] = Counter()
    for frame in sent:
        frames, index = stored.get(frame.stream, []), position[frame.stream]
        position[frame.stream] += 1
        if index >= len(frames):
            unread[frame.stream] += 1
            unread_bytes += frame.size_bytes
        else:
            strange += frames[index] != frame.digest
    print(
        f"{len(sent):,} frames sent, {unread.total():,} ({unread_bytes:,} bytes, on {len(unread)}"
        f" connections) of them last and still in the sockets, {strange} other differences"
    )
    left = [path for path in (directory / "spool").rglob("*") if path.suffix in (".arrows", ".tmp")]
    print(f"{len(left)} journals or temporary files left")
    return received == rows == len(sent) - unread.total() and not (strange or dropped or left)


def main() -> None:
    parser = lab.open_parser(__doc__)
    parser.add_argument("--rate", type=float, default=10_000.0, help="messages/s, in total")
    parser.add_argument("--seconds", type=float, default=20.0, help="from all live to SIGTERM")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        is_good = run(Path(directory), options)
    lab.finish(is_good=is_good)


if __name__ == "__main__":
    main()
