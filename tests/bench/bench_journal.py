"""What a row costs the writer: building and appending it, reading it back, and sealing it.

    python -m tests.bench.bench_journal [--rows N]

CPU time (user + system of the process) and wall time per row, for the two sizes of message that
matter: a trade of 125 bytes and a 20-level book of 1.4 kB, in appends of several sizes.
"""

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from trio_collector.disk import LOCAL_DISK
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.journal_reader import open_journal
from trio_collector.writer.journals import FlushRound, Journals
from trio_collector.writer.rotation import SegmentLimits
from trio_collector.writer.seal import seal
from trio_collector.writer.segment import Spool

NOON_US = 1_700_049_600_000_000
dice = random.Random(5)

STREAM = Stream("binance", "btcusdt", DataType.TRADE)


class Cost(NamedTuple):
    """Microseconds per row."""

    cpu_us: float
    wall_us: float

    def __str__(self) -> str:
        return f"{self.cpu_us:6.2f} µs CPU {self.wall_us:6.2f} µs"


def trade(number: int) -> bytes:
    """Return a message of 125 bytes, with a price and an amount that cannot be foreseen."""
    return (
        b'{"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"%09.2f","q":"%011.8f","T":%d,"m":%s}'
        % (
            NOON_US // 1000 + number,
            3_012_345_678 + number,
            dice.gauss(50_000, 50),
            dice.expovariate(3),
            NOON_US // 1000 + number - 2,
            dice.choice([b"true", b"false"]),
        )
    ).ljust(125)


def book(number: int) -> bytes:
    """Return a message of about 1.4 kB: some 20 levels a side."""
    levels = b",".join(
        b'["%.2f","%.8f"]' % (50_000 + level / 100, dice.expovariate(1)) for level in range(52)
    )
    return b'{"lastUpdateId":%d,"bids":[%s]}' % (8_012_345_678 + number, levels)


def batches_of(message: Callable[[int], bytes], rows: int, per_batch: int) -> list[Batch]:
    batches = []
    for start in range(0, rows, per_batch):
        batch = Batch(STREAM, NOON_US + start)
        for number in range(start, start + per_batch):
            batch.append(str(10**10 + number), NOON_US + number, message(number))
        batches.append(batch)
    return batches


def cost_of(work: Callable[[], object], rows: int) -> Cost:
    before, started = _cpu_s(), time.perf_counter()
    work()
    return Cost((_cpu_s() - before) / rows * 1e6, (time.perf_counter() - started) / rows * 1e6)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(name: str, message: Callable[[int], bytes], rows: int, per_append: int) -> None:
    batches = batches_of(message, rows, min(per_append, 1000))
    together = max(1, per_append // 1000)
    with tempfile.TemporaryDirectory() as folder:
        journals = Journals(Spool(Path(folder)), SegmentLimits(3600, 1 << 40), LOCAL_DISK)

        def append() -> None:
            for start in range(0, len(batches), together):
                journals.work(FlushRound(NOON_US, [batches[start : start + together]]))

        written = cost_of(append, rows)
        (closed,) = journals.work(FlushRound(NOON_US, ends=True)).closed
        size_bytes = closed.path.stat().st_size
        read = cost_of(lambda: _read(closed.path), rows)
        sealed = cost_of(lambda: seal(closed.path, LOCAL_DISK), rows)
        ratio = size_bytes / closed.path.with_suffix(".parquet").stat().st_size
    print(f"{name:6} {per_append:6} rows/append  build+append {written}   read {read}   ", end="")
    print(f"seal {sealed}   journal/Parquet {ratio:.1f}")


def _read(path: Path) -> int:
    with open_journal(path) as reader:
        return sum(rows.num_rows for rows in reader)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    rows = parser.parse_args().rows
    print(f"trade {len(trade(1))} bytes, book {len(book(1))} bytes")
    for name, message, count in (("trade", trade, rows), ("book", book, rows // 6)):
        for per_append in (1, 10, 100, 1000, 5000):
            measure(
                name, message, min(count, per_append * 5000) // per_append * per_append, per_append
            )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
