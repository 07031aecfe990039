"""How fast a file goes into a store, beside boto3, and what that does to the event loop.

    python -m tests.bench.s3_speed [--mb N] [--rounds N] [--store sink|bucket|swift] [--lag-mb N]

First the same file is delivered by the uploader and by boto3's `upload_file`, in turns, to the same
server on loopback; the medians are compared. The uploader's time is that of a whole delivery: hash,
send, verify. boto3 is not among our dependencies; without it the uploader is measured alone.

The server is the simulated bucket in a process of its own. As a `sink` it checks signatures and
believes digests, so that it is not its own hashing that is measured on a machine of few cores; as a
`bucket` it hashes all that comes. Swift takes some 50 MB/s from anybody.

Then `--lag-mb` are delivered from a spool while journals of as much are sealed, in one process, and a
task notes every 5 ms how late it was woken.
"""

import argparse
import importlib
import os
import random
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import structlog
import trio

from tests.bench import lab, stores
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import StorageSection
from trio_collector.disk import LOCAL_DISK
from trio_collector.events import Batch, DataType, Stream
from trio_collector.uploader.task import run_uploader
from trio_collector.writer.journals import FlushRound, Journals
from trio_collector.writer.rotation import SegmentLimits
from trio_collector.writer.segment import Spool
from trio_collector.writer.task import run_writer

PROBE_S = 0.005
MAX_LAG_MS = 20.0
FIRST_MS = 1_795_305_600_000
FILE_BYTES = 250_000_000  # of the spool in the second part
ROW_BYTES = 1400


def boto3_upload(store: stores.Store) -> Callable[[Path, str], None] | None:
    """Return boto3's way of uploading a file; None if it is not installed."""
    try:
        boto3: Any = importlib.import_module("boto3")
    except ImportError:
        return None
    client = boto3.client(
        "s3",
        region_name=store.region,
        endpoint_url=store.endpoint_url,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
    )
    return lambda path, key: client.upload_file(str(path), store.bucket, key)


def sealed_path(spool: Path, number: int) -> Path:
    path = spool / f"binance/{spool.name}/trade/2026-11-22/{FIRST_MS + number}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def make_file(path: Path, size_bytes: int) -> None:
    """Write what cannot be compressed."""
    chunk = random.Random(size_bytes).randbytes(1 << 20)
    with path.open("wb") as file:
        for start in range(0, size_bytes, len(chunk)):
            file.write(chunk[: size_bytes - start])


async def deliver(spool: Path, store: stores.Store) -> None:
    """Deliver what is in `spool`; returns when it is empty."""
    wake_uploader, wakeups = trio.open_memory_channel[None](1)
    wake_uploader.close()
    await run_uploader(StorageSection(data_dir=str(spool)), wakeups, aws=store.aws())


def compare(directory: Path, store: stores.Store, options: argparse.Namespace) -> bool:
    """Print both rates; return whether ours is not the smaller one."""
    size_bytes = options.mb * 10**6
    source, spool = directory / "source", directory / "compared"
    make_file(source, size_bytes)
    by_boto3 = boto3_upload(store)
    ours, theirs = [], []
    for number in range(options.rounds):
        path = sealed_path(spool, number)
        shutil.copyfile(source, path)
        ours.append(seconds(lambda: trio.run(deliver, spool, store)))
        if path.exists():
            raise SystemExit(f"{path} was not delivered")
        if by_boto3:
            theirs.append(seconds(lambda: by_boto3(source, f"boto3/{number}")))  # noqa: B023 - called before the next round
    rate = size_bytes / 1e6 / statistics.median(ours)
    print(f"{options.mb} MB, {options.rounds} rounds, median (and all, in s):")
    print(f"  uploader, with hashing before and HEAD after  {rate:6.0f} MB/s  {listed(ours)}")
    if not theirs:
        print("  boto3 is not installed here: nothing to compare with")
        return True
    other = size_bytes / 1e6 / statistics.median(theirs)
    print(
        f"  boto3 {importlib.import_module('boto3').__version__} upload_file {other:29.0f} MB/s  {listed(theirs)}"
    )
    return bool(rate >= other)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def listed(times: list[float]) -> str:
    return " ".join(f"{each:.2f}" for each in times)


class Lag(NamedTuple):
    """How late a task was woken, in ms, and how long the work took."""

    samples: list[float]
    took_s: float

    def quantile(self, share: float) -> float:
        return sorted(self.samples)[min(len(self.samples) - 1, int(share * len(self.samples)))]


def fill_journals(spool: Path, size_bytes: int) -> None:
    """Leave journals of `size_bytes` behind, as a process does that is killed."""
    dice = random.Random(5)
    books = [
        b'{"bids":[%s]}'
        % b",".join(
            b'["%.2f","%.8f"]' % (50_000 + dice.gauss(0, 50), dice.expovariate(1))
            for _ in range(62)
        )
        for _ in range(500)
    ]
    journals = Journals(Spool(spool), SegmentLimits(3600, 1 << 40), LOCAL_DISK)
    now_us = FIRST_MS * 1000
    for number in range(size_bytes // (ROW_BYTES * len(books))):
        batch = Batch(Stream("binance", f"s{number % 4}", DataType.ORDERBOOK), now_us + number)
        for row, book in enumerate(books):
            batch.append(str(number * len(books) + row), now_us, book)
        journals.work(FlushRound(now_us + number, [[batch]]))


async def measure_lag(spool: Path, store: stores.Store) -> Lag:
    """Deliver the spool and seal its journals, side by side, and note how late a task is woken."""
    samples: list[float] = []

    async def probe() -> None:
        while True:
            due = trio.current_time() + PROBE_S
            await trio.sleep_until(due)
            samples.append((trio.current_time() - due) * 1e3)

    storage = StorageSection(data_dir=str(spool), min_free_bytes=0)
    to_writer, batches = trio.open_memory_channel[Batch](1)
    wake_uploader, wakeups = trio.open_memory_channel[None](1)
    to_writer.close()
    started = time.perf_counter()
    async with trio.open_nursery() as probing:
        probing.start_soon(probe)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: run_uploader(storage, wakeups, aws=store.aws()))
            nursery.start_soon(
                lambda: run_writer(
                    storage, batches, wake_uploader, ByteBudget(1 << 20), server=None
                )
            )
        probing.cancel_scope.cancel()
    return Lag(samples, time.perf_counter() - started)


def lag(directory: Path, store: stores.Store, options: argparse.Namespace) -> bool:
    """Print how late the loop was; return whether that is little enough."""
    spool = directory / "spool"
    size_bytes = options.lag_mb * 10**6
    for number in range(max(1, size_bytes // FILE_BYTES)):
        make_file(sealed_path(spool, number), min(size_bytes, FILE_BYTES))
    fill_journals(spool, size_bytes)
    found = trio.run(measure_lag, spool, store)
    left = [path for path in spool.rglob("*") if path.is_file() and path.name != ".lock"]
    p50, p99, p999 = (found.quantile(share) for share in (0.5, 0.99, 0.999))
    print(
        f"{options.lag_mb} MB delivered and {options.lag_mb} MB of journals sealed and delivered"
        f" in {found.took_s:.1f} s; {len(left)} files left"
    )
    for path in left[:5]:
        print(f"  {path.relative_to(spool)}")
    print(
        f"  loop lag of {len(found.samples):,} samples: p50 {p50:.2f} ms, p99 {p99:.2f} ms,"
        f" p99.9 {p999:.2f} ms, max {max(found.samples):.2f} ms"
    )
    return p99 <= MAX_LAG_MS and not left


def main() -> None:
    parser = lab.open_parser(__doc__)
    parser.add_argument("--mb", type=int, default=256, help="of the file that is compared")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", choices=("sink", "bucket", "swift"), default="sink")
    parser.add_argument("--lag-mb", type=int, default=1000, help="0 leaves that part out")
    parser.add_argument("--timeout", type=int, default=900, help="of it all, s")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    signal.alarm(options.timeout)  # what was started dies with this process
    opened: Any = (
        stores.swift()
        if options.store == "swift"
        else stores.simulated(
            is_keeping_content=False,
            is_hashing=options.store == "bucket",
            etags="md5" if options.store == "bucket" else "opaque",
        )
    )
    is_good = True
    with opened as store, tempfile.TemporaryDirectory() as directory:
        os.environ.update(store.environ())
        stores.Reader(store).create_bucket()
        is_good &= compare(Path(directory), store, options)
        if options.lag_mb:
            is_good &= lag(Path(directory), store, options)
    lab.finish(is_good=is_good)


if __name__ == "__main__":
    main()
