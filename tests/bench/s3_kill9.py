"""The whole chain is killed with SIGKILL, again and again, and the bucket has each row once.

    python -m tests.bench.s3_kill9 [--kills N] [--seed N] [--life S] [--store swift|bucket]

A child appends, syncs, seals, renames, uploads, verifies and deletes, all of it all the time, with
OpenStack Swift as the store, and lives for a random while from its first step on. It is forked from
a process that has imported everything, so that a start takes milliseconds and kills hit it as well.
Rows are numbered, per life and stream. After each kill the disk is read: these rows were flushed, and
so were as many as the child had counted. At the end one more child drains without new rows; then

* each row that was seen on disk after any kill is in the bucket;
* of each life and stream the bucket has the rows from the first to some last one, without a hole, and
  of a life at least as many as its child had counted as flushed;
* no row is in the bucket twice;
* nothing is left on disk, and nothing was set aside.
"""

import argparse
import contextlib
import io
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import structlog
import trio

from tests.bench import lab, stores
from trio_collector import layout
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import AwsSection, StorageSection
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.journal_reader import JournalState, inspect_journal, open_journal
from trio_collector.uploader.task import run_uploader
from trio_collector.writer.lock import lock_data_dir
from trio_collector.writer.task import run_writer

STREAMS = 3
BATCH_ROWS = 10
PAUSE_S = 0.002
DRAIN_S = 120.0

# In the place of a count: how a chain ended that was not killed.
DRAINED, FAILED = -1, -2

# Waiting files that are looked up in the store after each kill.
LOOKED_UP = 6

# A row: its stream's number, the life in which it came, and its number there.
Row = tuple[int, int, int]


class CountedBudget(ByteBudget):
    """Counts what has gone through it, where a kill cannot reach. A row counts as one byte."""

    def __init__(self, limit_bytes: int, counter: mmap.mmap) -> None:
        super().__init__(limit_bytes)
        self._counter = counter
        self._released = 0

    def release(self, size_bytes: int) -> None:
        super().release(size_bytes)
        self._released += size_bytes
        struct.pack_into("q", self._counter, 0, self._released)


async def feed(to_writer: trio.MemorySendChannel[Batch], budget: ByteBudget, life: int) -> None:
    """Send numbered rows for ever."""
    numbers = [0] * STREAMS
    turn = 0
    while True:
        turn = (turn + 1) % STREAMS
        batch = Batch(Stream("binance", f"s{turn}", DataType.TRADE), time.time_ns() // 1000)
        for number in range(numbers[turn], numbers[turn] + BATCH_ROWS):
            batch.append(str(number), None, b'{"life":%d,"n":%d}' % (life, number))
        numbers[turn] += BATCH_ROWS
        batch.size_bytes = batch.rows
        await budget.acquire(batch.rows)
        await to_writer.send(batch)
        await trio.sleep(PAUSE_S)


async def live(root: Path, aws: AwsSection, counter: mmap.mmap, life: int | None) -> None:
    """Be the chain until killed; without a `life` there are no new rows, and there is an end."""
    storage = StorageSection(
        data_dir=str(root),
        min_free_bytes=0,
        max_file_age_secs=0.3,
        flush_interval_secs=0.05,
        sync_interval_secs=0.1,
    )
    to_writer, batches = trio.open_memory_channel[Batch](10)
    wake_uploader, wakeups = trio.open_memory_channel[None](1)
    budget = CountedBudget(10_000, counter)
    with lock_data_dir(root):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: run_uploader(storage, wakeups, aws=aws))
            nursery.start_soon(
                lambda: run_writer(storage, batches, wake_uploader, budget, server=None)
            )
            async with to_writer:
                if life is not None:
                    await feed(to_writer, budget, life)


def be_nursery() -> None:
    """Fork a chain for each line of standard input, and tell its process id."""
    root, aws = Path(sys.argv[2]), stores.Store(*sys.argv[3:]).aws()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        life = int(line)
        process = os.fork()
        if process == 0:
            be_child(root, aws, None if life < 0 else life)
        print(process, flush=True)


def be_child(root: Path, aws: AwsSection, life: int | None) -> None:
    """Live, and leave by the shortest way: what follows in the program is the parent's."""
    stores.die_with_parent()
    try:
        with counter_file(root).open("r+b") as file, mmap.mmap(file.fileno(), 8) as counter:
            end = FAILED
            try:
                trio.run(live, root, aws, counter, life)
                end = DRAINED
            finally:
                struct.pack_into("q", counter, 0, end)
    finally:
        if sys.exc_info()[0]:
            traceback.print_exc()
        os._exit(0)


def counter_file(root: Path) -> Path:
    return root.with_name("counter")


class Seen(NamedTuple):
    """What was found out after the kills."""

    flushed: set[Row]
    counted: dict[int, int]  # rows that each life had counted as flushed
    files: set[Path]  # sealed files that were read already
    states: Counter[str]  # kills at which something was there


class Chains:
    """Starts chains and ends them."""

    def __init__(self, root: Path, nursery: "subprocess.Popen[str]") -> None:
        self._root = root
        self._nursery = nursery

    def run(self, life: int, limit_s: float) -> int:
        """Let a chain live for `limit_s` at most; return what it had counted."""
        counter_file(self._root).write_bytes(bytes(8))
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(f"{life}\n")
        self._nursery.stdin.flush()
        process = int(self._nursery.stdout.readline())
        deadline = time.monotonic() + limit_s
        while life < 0 and time.monotonic() < deadline and is_running(process):
            time.sleep(0.05)
        time.sleep(max(0.0, deadline - time.monotonic()) if life >= 0 else 0.0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        while is_running(process):
            time.sleep(0.001)
        return int(struct.unpack("q", counter_file(self._root).read_bytes())[0])


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def chains(root: Path, store: stores.Store) -> Iterator[Chains]:
    command = [
        sys.executable,
        "-m",
        "tests.bench.s3_kill9",
        "--nursery",
        str(root.resolve()),
        *store,
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **store.environ()},
        cwd=lab.ROOT,
    ) as nursery:
        try:
            yield Chains(root, nursery)
        finally:
            nursery.kill()


def look(root: Path, reader: stores.Reader, seen: Seen) -> None:
    """Add what is on disk, now that nobody writes."""
    journals = [path for path in root.rglob(f"*{layout.JOURNAL}") if "status" not in path.parts]
    for path in journals:
        if inspect_journal(path) is JournalState.ROWS:
            with open_journal(path) as journal:
                for batch in journal:
                    seen.flushed.update(rows_of(stream_of(root, path), batch["data"].to_pylist()))
    sealed = [path for path in root.rglob(f"*{layout.SEALED}") if "status" not in path.parts]
    for path in set(sealed) - seen.files:
        seen.files.add(path)
        table = pq.read_table(path, columns=["data"])
        seen.flushed.update(rows_of(stream_of(root, path), table["data"].to_pylist()))
    note_state(root, reader, seen.states, sealed)
    seen.states["with open journals"] += bool(journals)


def note_state(root: Path, reader: stores.Reader, states: Counter[str], sealed: list[Path]) -> None:
    """Count what the kill came between."""
    states["with a half-sealed file"] += any(root.rglob(f"*{layout.TEMPORARY}"))
    states["with sealed files waiting"] += bool(sealed)
    states["between rename and removal of the journal"] += any(
        path.with_suffix(layout.JOURNAL).exists() for path in sealed
    )
    oldest = sorted(sealed, key=lambda path: int(path.stem))[:LOOKED_UP]
    states["between upload and removal from the spool"] += any(
        reader.sha256(path.relative_to(root).as_posix()) for path in oldest
    )


def stream_of(root: Path, path: Path) -> int:
    return stream_number(path.relative_to(root).as_posix())


def stream_number(key: str) -> int:
    place = layout.parse_segment_path(PurePosixPath(key))
    assert place is not None, key
    return int(place.stream.symbol[1:])


def rows_of(stream: int, frames: Iterable[str]) -> Iterator[Row]:
    for frame in frames:
        life, _, number = frame.removeprefix('{"life":').removesuffix("}").partition(',"n":')
        yield stream, int(life), int(number)


def run(directory: Path, store: stores.Store, options: argparse.Namespace) -> bool:
    """Kill and look, drain, and judge."""
    root = directory / "spool"
    root.mkdir()
    dice = random.Random(options.seed)
    seen = Seen(set(), {}, set(), Counter())
    reader = stores.Reader(store)
    reader.create_bucket()
    started = time.monotonic()
    with chains(root, store) as children:
        for life in range(options.kills):
            seen.counted[life] = children.run(life, dice.uniform(0.0, options.life))
            assert seen.counted[life] >= 0, "a chain ended by itself"
            look(root, reader, seen)
            if (life + 1) % 100 == 0:
                print(f"  {life + 1} kills", flush=True)
        drained = children.run(-1, DRAIN_S) == DRAINED
    print(f"{options.kills} kills and a clean drain in {time.monotonic() - started:.0f} s")
    for state, kills in seen.states.items():
        print(f"  {kills} {state}")
    return judge(root, reader, seen, is_drained=drained)


def judge(root: Path, reader: stores.Reader, seen: Seen, *, is_drained: bool) -> bool:
    """Print what came of it; return whether it is as it should be."""
    stored: Counter[Row] = Counter()
    keys = reader.keys()
    for key in keys:
        content = reader.content(key)
        assert content is not None, key
        table = pq.read_table(io.BytesIO(content), columns=["data"])
        if "/status/" not in key:
            stored.update(rows_of(stream_number(key), table["data"].to_pylist()))
    missing = seen.flushed - stored.keys()
    twice = sum(times > 1 for times in stored.values())
    holes, short = gaps_in(stored, seen.counted)
    left = [path for path in root.rglob("*") if path.is_file() and path.name != layout.LOCK]
    print(f"{len(stored):,} rows in {len(keys):,} objects; {sum(seen.counted.values()):,} counted")
    print(
        f"{len(seen.flushed):,} rows were seen on disk after a kill; {len(missing)} of them missing"
    )
    print(f"{short} lives with fewer rows than counted; {holes} holes; {twice} rows twice")
    print(f"{len(left)} files left on disk; drained cleanly: {is_drained}")
    return not (missing or twice or holes or short or left) and is_drained and bool(seen.flushed)


def gaps_in(stored: Counter[Row], counted: dict[int, int]) -> tuple[int, int]:
    """Return how many rows are missing in front of a later one, and how many lives are short."""
    numbers: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for stream, life, number in stored:
        numbers[stream, life].add(number)
    holes = sum(max(each) + 1 - len(each) for each in numbers.values())
    of_life: Counter[int] = Counter()
    for (_stream, life), each in numbers.items():
        of_life[life] += len(each)
    return holes, sum(of_life[life] < count for life, count in counted.items())


def main() -> None:
    parser = lab.open_parser(__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--life", type=float, default=1.2, help="longest life of a chain, s")
    parser.add_argument("--store", choices=("swift", "bucket"), default="swift")
    parser.add_argument("--timeout", type=int, default=3600, help="of it all, s")
    options = parser.parse_args()
    signal.alarm(options.timeout)  # what was started dies with this process
    opened: Any = stores.swift() if options.store == "swift" else stores.simulated()
    with opened as store, tempfile.TemporaryDirectory() as directory:
        is_good = run(Path(directory), store, options)
    lab.finish(is_good=is_good)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--nursery"]:
        be_nursery()
    else:
        main()
