"""Thousands of uploads over a bad line to a bad store: nothing is lost, deleted early, or doubled.

    python -m tests.bench.s3_faults [--uploads N] [--large N] [--store bucket|swift] [--rate X]

The uploader empties a spool of small files, and of some that are large enough to go in parts, by
way of a proxy that cuts connections, into the simulated bucket, which fails on its own account
(`--store swift`: into OpenStack Swift, which means well). Of the connections and of the requests a
share (`--rate`) has a fault. Trio's clock runs `--speed` times faster than the wall clock, so that
deadlines and delays are the real ones and need not be waited for.

Whenever a file is about to be removed from the spool, an audit hook of the interpreter, which the
uploader knows nothing of, looks into the store: the whole content has to be there, under the name
of the file, and with the simulated bucket an honest answer to HEAD or GET must have been given since
it was stored. At the end every file is in the store once, as it was, and the spool is empty.
"""

import argparse
import contextlib
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import structlog
import trio
import trio.testing

from tests.bench import lab, stores
from tests.support.bucket import (
    Bucket,
    BucketSettings,
    Fault,
    FaultScript,
    Operation,
    Served,
    is_afterwards,
    serve_bucket,
)
from tests.support.proxy import CutScript, Proxy, serve_proxy
from trio_collector.config.settings import StorageSection
from trio_collector.telemetry import metrics
from trio_collector.uploader.task import run_uploader

LARGE_BYTES = (64 << 20) + 12_345  # in parts, the last of them odd
POLL_S = 10.0  # of trio's clock
STALL_S = 300.0  # longer than any deadline of a small file; then what stalls lets go of its sockets


class Witness(Protocol):
    """Says what is in the store."""

    def sha256(self, key: str) -> str | None: ...

    def is_verified(self, key: str) -> bool:
        """Return whether an honest answer about `key` was given after it was stored."""
        ...

    def all_keys(self) -> list[str]: ...

    def writes(self, key: str) -> int: ...

    def open_uploads(self) -> int: ...


class BucketWitness:
    """Looks into the simulated bucket itself, past all faults."""

    # After these the answer to HEAD or GET is true.
    HONEST = frozenset({None, Fault.DRIP})
    LOOKING = frozenset({Operation.HEAD_OBJECT, Operation.GET_OBJECT})
    STORING = frozenset({Operation.PUT_OBJECT, Operation.COMPLETE_UPLOAD})

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._indexed = 0
        self._stored: set[str] = set()
        self._verified: set[str] = set()

    def sha256(self, key: str) -> str | None:
        stored = self._bucket.objects.get(key)
        return stored.sha256 if stored else None

    def is_verified(self, key: str) -> bool:
        served = self._bucket.requests[self._indexed :]
        self._indexed += len(served)
        for each in served:
            self._note(each)
        return key in self._verified

    def _note(self, served: Served) -> None:
        fault = served.fault
        is_done = served.status == 200 or (fault is not None and is_afterwards(fault))
        if served.operation in self.STORING and is_done:
            self._stored.add(served.key)
        elif served.operation in self.LOOKING and served.status == 200 and fault in self.HONEST:
            self._verified.update({served.key} & self._stored)

    def all_keys(self) -> list[str]:
        return list(self._bucket.objects)

    def writes(self, key: str) -> int:
        return self._bucket.objects[key].writes

    def open_uploads(self) -> int:
        return len(self._bucket.uploads)


class SwiftWitness:
    """Reads the real store, without the proxy."""

    def __init__(self, store: stores.Store) -> None:
        self._reader = stores.Reader(store)
        self._reader.create_bucket()

    def sha256(self, key: str) -> str | None:
        return self._reader.sha256(key)

    def is_verified(self, key: str) -> bool:  # what was asked of it, Swift does not tell
        return True

    def all_keys(self) -> list[str]:
        return self._reader.keys()

    def writes(self, key: str) -> int:  # nor how often
        return 1

    def open_uploads(self) -> int:
        return self._reader.open_uploads()


class Removals:
    """What is removed from the spool, judged before it is."""

    def __init__(self, spool: Path, files: dict[str, str], witness: Witness) -> None:
        self.removed: Counter[str] = Counter()
        self.too_early: list[str] = []
        self._spool = spool
        self._files = files
        self._witness = witness
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("os.remove", "os.rename", "os.truncate"):
            return
        path = (
            Path(os.fsdecode(arguments[0]))
            if isinstance(arguments[0], str | bytes | Path)
            else None
        )
        if path is None or path.suffix != ".parquet" or not path.is_relative_to(self._spool):
            return
        key = path.relative_to(self._spool).as_posix()
        self.removed[key] += 1
        is_there = self._witness.sha256(key) == self._files[key]
        if not is_there or not self._witness.is_verified(key):
            self.too_early.append(
                f"{event} of {key}: {'not verified' if is_there else 'not there'}"
            )


class Result(NamedTuple):
    """What there is to judge when the spool is empty, or time is up."""

    files: dict[str, str]
    removals: Removals
    witness: Witness
    proxy: Proxy
    bucket: Bucket | None
    is_empty: bool
    took_s: float


def fill_spool(spool: Path, options: argparse.Namespace) -> dict[str, str]:
    """Put files into `spool`; return the SHA-256 of each by its key."""
    dice = random.Random(options.seed)
    files = {}
    for number in range(options.uploads):
        # Symbols as wild as names may get, in the form in which they are on disk.
        symbol = ("btcusdt", "~e5~b8~81usdt", "~2e~2e", "a-b_c.d")[number % 4]
        key = f"binance/{symbol}/trade/2026-11-22/{1_795_305_600_000 + number}.parquet"
        is_large = number < options.large
        content = dice.randbytes(LARGE_BYTES if is_large else dice.randrange(1, 50_000))
        path = spool / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        files[key] = hashlib.sha256(content).hexdigest()
    return files


@contextlib.asynccontextmanager
async def opened_store(
    options: argparse.Namespace, nursery: trio.Nursery
) -> AsyncIterator[tuple[stores.Store, Witness, Bucket | None]]:
    """Start the store that is asked for."""
    if options.store == "bucket":
        bucket: Bucket = await nursery.start(serve_bucket, BucketSettings())
        # The one fault that too few requests could meet by chance.
        plan = (Fault.ERROR_IN_200,) if options.large else ()
        bucket.set_faults(
            FaultScript(
                plan=plan, rate=options.rate, seed=options.seed, stall_s=STALL_S, retry_after_s=2
            )
        )
        yield stores.store_of(bucket), BucketWitness(bucket), bucket
    else:
        with stores.swift() as store:
            yield store, SwiftWitness(store), None


async def run(directory: Path, options: argparse.Namespace) -> bool:
    """Deliver all there is; return whether everything is as it should be."""
    spool = directory / "spool"
    files = fill_spool(spool, options)
    storage = StorageSection(data_dir=str(spool), upload_concurrency=options.concurrency)
    started = time.monotonic()
    async with trio.open_nursery() as nursery:
        async with opened_store(options, nursery) as (store, witness, bucket):
            os.environ.update(store.environ())
            target = "127.0.0.1", int(store.endpoint_url.rsplit(":", 1)[1])
            script = CutScript(rate=options.rate, seed=options.seed + 1, stall_s=STALL_S)
            proxy: Proxy = await nursery.start(serve_proxy, target, script)
            removals = Removals(spool, files, witness)
            wake_uploader, wakeups = trio.open_memory_channel[None](1)
            with trio.move_on_after((options.timeout - 30) * options.speed):
                async with trio.open_nursery() as uploading:
                    aws = store.aws(proxy.endpoint_url)
                    uploading.start_soon(lambda: run_uploader(storage, wakeups, aws=aws))
                    async with wake_uploader:
                        await wait_empty(spool, len(files))
            is_empty = await trio.to_thread.run_sync(count_files, spool) == 0
            took_s = time.monotonic() - started
            result = Result(files, removals, witness, proxy, bucket, is_empty, took_s)
            is_good = await trio.to_thread.run_sync(judge, result)
            nursery.cancel_scope.cancel()
    return is_good


async def wait_empty(spool: Path, total: int) -> None:
    """Wait until the spool is empty; tell of it as it goes."""
    told = total
    while left := await trio.to_thread.run_sync(count_files, spool):
        if told - left >= total / 10:
            told = left
            print(f"  {left} of {total} files left", flush=True)
        await trio.sleep(POLL_S)


def count_files(spool: Path) -> int:
    return sum(1 for _ in spool.rglob("*.parquet"))


def judge(result: Result) -> bool:
    """Print what came of it; return whether it is as it should be."""
    files, witness, removals = result.files, result.witness, result.removals
    stored = witness.all_keys()
    wrong = [key for key, digest in files.items() if witness.sha256(key) != digest]
    foreign = sorted(set(stored) - files.keys())
    twice = [key for key in stored if key in files and witness.writes(key) != 1]
    attempts, failed = uploads_tried(), int(metrics.total(metrics.s3_upload_failures))
    share = failed / max(1, attempts)
    print(f"{len(files):,} files delivered in {result.took_s:.0f} s, in {attempts:,} attempts")
    print(f"  {failed:,} attempts failed ({share:.0%})")
    for line in fault_lines(result):
        print(f"  {line}")
    print(
        f"{len(files) - len(wrong):,} verified in the store, {len(wrong)} missing or wrong;"
        f" {len(foreign)} under other names; {len(twice)} written more than once"
    )
    print(
        f"{sum(removals.removed.values()):,} removals from the spool, {len(removals.too_early)} of"
        f" them before the file was stored and verified; spool empty: {result.is_empty}"
    )
    print(f"{witness.open_uploads()} uploads in parts left open (a lost answer to create or abort)")
    for trouble in [*removals.too_early[:5], *wrong[:5], *foreign[:5], *twice[:5]]:
        print(f"  {trouble}")
    is_once = set(removals.removed.values()) == {1} and len(removals.removed) == len(files)
    is_sound = not (wrong or foreign or twice or removals.too_early) and is_once
    return is_sound and result.is_empty and share > 0.5


def uploads_tried() -> int:
    """Return how many attempts there were to bring a file into the store."""
    return sum(
        int(sample.value)
        for metric in metrics.s3_upload_seconds.collect()
        for sample in metric.samples
        if sample.name.endswith("_count")
    )


def fault_lines(result: Result) -> Iterator[str]:
    """Yield how often what went wrong."""
    courses = Counter(str(course.cut) for course in result.proxy.plans)
    clean = courses.pop("None", 0)
    yield f"{clean + courses.total():,} connections, {courses.total():,} with a fault of the proxy:"
    yield "  " + ", ".join(f"{name} {times}" for name, times in courses.most_common())
    if result.bucket:
        faults = Counter(str(served.fault) for served in result.bucket.requests)
        clean = faults.pop("None", 0)
        yield f"{clean + faults.total():,} requests, {faults.total():,} with a fault of the bucket:"
        yield "  " + ", ".join(f"{name} {times}" for name, times in faults.most_common())


def main() -> None:
    parser = lab.open_parser(__doc__)
    parser.add_argument("--uploads", type=int, default=2000)
    parser.add_argument("--large", type=int, default=8, help="how many of them are over 64 MiB")
    parser.add_argument("--store", choices=("bucket", "swift"), default="bucket")
    parser.add_argument("--rate", type=float, help="0.25; with Swift, which has no faults, 0.5")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--speed", type=float, default=30.0, help="of trio's clock")
    parser.add_argument("--timeout", type=int, default=1800, help="of it all, s of the wall clock")
    options = parser.parse_args()
    options.rate = options.rate or {"bucket": 0.25, "swift": 0.5}[options.store]
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    signal.alarm(options.timeout)  # the last resort: trio's own deadline comes first
    with tempfile.TemporaryDirectory() as directory:
        clock = trio.testing.MockClock(options.speed)
        is_good = trio.run(run, Path(directory), options, clock=clock)
    lab.finish(is_good=is_good)


if __name__ == "__main__":
    main()
