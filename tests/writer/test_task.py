"""The writer from its channel to sealed files: what it writes, when, and how it ends."""

import contextlib
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.disk import no_descriptor_leaks
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import StorageSection
from trio_collector.disk import LOCAL_DISK, Disk, LocalDisk
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.journal_reader import open_journal
from trio_collector.layout import US_PER_HOUR
from trio_collector.telemetry import metrics
from trio_collector.telemetry.storage_state import DiskState
from trio_collector.threads import Worker
from trio_collector.writer.journals import FlushResult, FlushRound, Journals
from trio_collector.writer.task import run_writer

MakeBatch = Callable[..., Batch]
SealedFrames = Callable[[Path], list[bytes]]
Ledger = Callable[[Path], list[str]]

NOON_US = 1_700_049_600_000_000
STREAM = Stream("binance", "btcusdt", DataType.TRADE)


class Room(msgspec.Struct):
    """A writer that runs, and what leads into it."""

    root: Path
    to_writer: trio.MemorySendChannel[Batch]
    wakeups: trio.MemoryReceiveChannel[None]
    budget: ByteBudget
    state: DiskState
    starts: list[tuple[Stream, int]] = []  # of segments, and when their first row was received

    async def send(self, *batches: Batch) -> None:
        """Send `batches` as a feed does, and let the writer see them."""
        for batch in batches:
            await self.budget.acquire(batch.size_bytes)
            await self.to_writer.send(batch)
        await wait_all_tasks_blocked()

    def journals(self) -> list[Path]:
        return sorted(self.root.rglob("*.arrows"))

    def journal_rows(self) -> int:
        total = 0
        for path in self.journals():
            with open_journal(path) as reader:
                total += sum(rows.num_rows for rows in reader)
        return total


OpenRoom = Callable[..., contextlib.AbstractAsyncContextManager[Room]]


def clock_us() -> int:
    """Return a wall clock that runs with the trio clock."""
    return NOON_US + round(trio.current_time() * 1e6)


@pytest.fixture
def open_room(tmp_path: Path, inline_worker: Callable[[], Worker]) -> OpenRoom:
    """Open a writer on the virtual clock; leaving ends it in order."""

    @contextlib.asynccontextmanager
    async def open_(disk: Disk = LOCAL_DISK, **storage: Any) -> AsyncIterator[Room]:
        section = StorageSection(
            **{"mode": "s3", "data_dir": str(tmp_path / "spool"), "min_free_bytes": 0, **storage}
        )
        to_writer, batches = trio.open_memory_channel[Batch](100)
        wake_uploader, wakeups = trio.open_memory_channel[None](1)
        room = Room(Path(section.data_dir), to_writer, wakeups, ByteBudget(1 << 20), DiskState())

        async def run() -> None:
            await run_writer(
                section,
                batches,
                wake_uploader,
                room.budget,
                server=None,
                now_us=clock_us,
                disk=disk,
                state=room.state,
                new_worker=inline_worker,
                on_segment_start=lambda *start: room.starts.append(start),
            )

        with no_descriptor_leaks():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                with to_writer, wakeups:
                    yield room
                    to_writer.close()
                    with trio.fail_after(600):
                        async for _wakeup in wakeups:
                            pass
        assert room.budget.used_bytes == 0

    return open_


async def test_rows_become_sealed_files(
    open_room: OpenRoom,
    make_batch: MakeBatch,
    sealed_frames: SealedFrames,
    autojump_clock: MockClock,
) -> None:
    """At the end every row is in a sealed file, and nothing else is left."""
    async with open_room() as room:
        await room.send(*(make_batch(3, start=3 * n) for n in range(4)))
    assert sealed_frames(room.root) == [b'{"n":%d}' % n for n in range(12)]
    assert [path.suffix for path in room.root.rglob("*.*")] == [".parquet"]


async def test_each_new_segment_is_told(
    open_room: OpenRoom, make_batch: MakeBatch, autojump_clock: MockClock
) -> None:
    """The first row of a segment is told with its time, and no other is."""
    other = STREAM._replace(symbol="ethusdt")
    async with open_room(max_file_age_secs=60) as room:
        await room.send(make_batch(2), make_batch(2, received_us=NOON_US + 1))
        await room.send(make_batch(1, stream=other, received_us=NOON_US + 2))
        await trio.sleep(70)
        await room.send(make_batch(1, received_us=NOON_US + 70_000_000))
    assert sorted(room.starts) == sorted(
        [(STREAM, NOON_US), (other, NOON_US + 2), (STREAM, NOON_US + 70_000_000)]
    )


async def test_the_state_follows(
    open_room: OpenRoom, make_batch: MakeBatch, autojump_clock: MockClock
) -> None:
    """State and metrics show what waits in memory and what is open, until nothing is."""
    written = metrics.total(metrics.journal_rows)
    sealed = metrics.total(metrics.parquet_rows_written)
    async with open_room() as room:
        await room.send(make_batch(3), make_batch(2, stream=STREAM._replace(symbol="x")))
        await trio.sleep(2)
        journals = room.journals()
        assert (room.state.open_journals, len(journals)) == (2, 2)
        assert room.state.journal_bytes == sum(path.stat().st_size for path in journals)
        assert metrics.total(metrics.parquet_rows_buffered) == 0
    assert (room.state.open_journals, room.state.journal_bytes) == (0, 0)
    assert (room.state.waiting_seals, room.state.last_error) == (0, None)
    assert metrics.total(metrics.journal_rows) - written == 5
    assert metrics.total(metrics.parquet_rows_written) - sealed == 5


async def test_a_cut_off_writer_rescues_what_is_in_memory(
    open_room: OpenRoom, make_batch: MakeBatch, autojump_clock: MockClock
) -> None:
    """Rows that wait, in memory or in the channel, are in a journal when the writer is cancelled."""
    with trio.CancelScope() as scope:
        async with open_room(flush_interval_secs=1000.0) as room:
            await room.send(make_batch(), make_batch(start=1))
            await room.to_writer.send(make_batch(start=2))
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert room.journal_rows() == 3


async def test_rows_on_their_way_to_the_thread_are_rescued(
    open_room: OpenRoom, make_batch: MakeBatch, autojump_clock: MockClock
) -> None:
    """A writer that is cancelled when rows are due, and before the thread has them, keeps them."""
    with trio.CancelScope() as scope:
        async with open_room(flush_interval_secs=1000.0) as room:
            await wait_all_tasks_blocked()
            await room.to_writer.send(make_batch(1000))
            await trio.lowlevel.checkpoint()
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert room.journal_rows() == 1000


async def test_an_end_without_rows(open_room: OpenRoom, autojump_clock: MockClock) -> None:
    """A writer that never got a row ends, wakes the uploader, and leaves nothing on disk."""
    async with open_room() as room:
        pass
    assert list(room.root.iterdir()) == []


async def test_many_rows_are_written_at_once(
    open_room: OpenRoom, make_batch: MakeBatch, mock_clock: MockClock
) -> None:
    """A thousand rows of a stream are written without a wait, fewer are not."""
    async with open_room() as room:
        await room.send(make_batch(999))
        assert room.journals() == []
        await room.send(make_batch(1))
        assert room.journal_rows() == 1000
        assert room.budget.used_bytes == 0


async def test_few_rows_are_written_after_the_interval(
    open_room: OpenRoom, make_batch: MakeBatch, mock_clock: MockClock
) -> None:
    """No row waits longer than the flush interval, though it is shorter than a chore's."""
    async with open_room(flush_interval_secs=0.25) as room:
        mock_clock.jump(0.4)
        await room.send(make_batch(2))
        mock_clock.jump(0.24)
        await wait_all_tasks_blocked()
        assert room.journals() == []
        assert room.budget.used_bytes > 0
        mock_clock.jump(0.02)
        await wait_all_tasks_blocked()
        assert room.journal_rows() == 2
        assert room.budget.used_bytes == 0


async def test_the_hour_ends_a_segment_that_is_silent(
    open_room: OpenRoom, make_batch: MakeBatch, autojump_clock: MockClock
) -> None:
    """When the hour has passed its segments are sealed, and the uploader is woken."""
    async with open_room(max_file_age_secs=1e9) as room:
        await room.send(make_batch(2))
        with trio.fail_after(3602):
            await room.wakeups.receive()
        assert trio.current_time() >= 3600
        (path,) = room.root.rglob("*.parquet")
        assert path.name == "1700049600000.parquet"
        assert room.journals() == []


async def test_age_ends_a_segment(
    open_room: OpenRoom, make_batch: MakeBatch, autojump_clock: MockClock
) -> None:
    """A segment is sealed when it is as old as it may be."""
    async with open_room(max_file_age_secs=60) as room:
        await room.send(make_batch(2))
        with trio.fail_after(62):
            await room.wakeups.receive()
        assert trio.current_time() >= 60


async def test_size_ends_a_segment(
    open_room: OpenRoom, make_batch: MakeBatch, autojump_clock: MockClock
) -> None:
    """A segment that has its size is sealed while rows go on coming."""
    async with open_room(max_file_bytes=65_536) as room:
        for _ in range(3):
            await room.send(make_batch(frames=[b"x" * 70_000]))
            await trio.sleep(2)
    assert len(list(room.root.rglob("*.parquet"))) == 3


async def test_rows_of_different_hours_are_in_different_files(
    open_room: OpenRoom, make_batch: MakeBatch, autojump_clock: MockClock
) -> None:
    """Rows that wait together are told apart by the hour they were received in."""
    async with open_room() as room:
        await room.send(make_batch(2), make_batch(2, received_us=NOON_US + 12 * US_PER_HOUR))
    days = [path.parent.name for path in sorted(room.root.rglob("*.parquet"))]
    assert days == ["2023-11-15", "2023-11-16"]


class SmallDisk(LocalDisk):
    """A disk whose free space the test sets, and that can be full."""

    def __init__(self) -> None:
        super().__init__()
        self.free = 10_000_000_000
        self.is_full = False

    def free_bytes(self, path: Path) -> int:
        return self.free

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, "no space")
        return super().write(descriptor, content)


def sealed_paths(root: Path, server: str) -> list[Path]:
    return list(root.rglob(f"{server}/*/*.parquet"))


def is_shedding(room: Room) -> bool:
    return room.state.is_shedding


def sheds(rows: Sequence[str]) -> list[tuple[str, int, int, int]]:
    """Return what the `shed` rows of a ledger say."""
    entries = [orjson.loads(row) for row in rows]
    names = ("data_type", "rows", "from_us", "to_us")
    return [tuple(entry[name] for name in names) for entry in entries if entry["event"] == "shed"]


async def test_a_low_disk_sheds_and_resumes(
    open_room: OpenRoom,
    make_batch: MakeBatch,
    sealed_frames: SealedFrames,
    ledger: Ledger,
    autojump_clock: MockClock,
) -> None:
    """Below the limit new data is shed and counted; it resumes by itself and the ledger tells."""
    dropped = metrics.total(metrics.messages_dropped.labels("disk"))
    disk = SmallDisk()
    async with open_room(disk, min_free_bytes=1_000_000_000) as room:
        await room.send(make_batch(1, start=0))
        disk.free = 1_000_000
        await trio.sleep(2)
        assert is_shedding(room)
        for n in range(3):
            await room.send(make_batch(5, start=100, received_us=NOON_US + n))
        await room.send(
            make_batch(
                stream=STREAM._replace(data_type=DataType.STATUS), frames=[b'{"event":"gap"}']
            )
        )
        assert metrics.total(metrics.messages_dropped.labels("disk")) == dropped + 15
        disk.free = 2_000_000_000
        await trio.sleep(2)
        assert not is_shedding(room)
        await room.send(make_batch(1, start=1))
    assert sealed_frames(room.root) == [b'{"n":0}', b'{"n":1}']
    assert sheds(ledger(room.root)) == [("trade", 15, NOON_US, NOON_US + 2)]
    assert '{"event":"gap"}' in ledger(room.root)


async def test_rows_shed_until_the_end_are_told_at_the_end(
    open_room: OpenRoom, make_batch: MakeBatch, ledger: Ledger, autojump_clock: MockClock
) -> None:
    """A writer that ends while it sheds still writes what it did not keep."""
    disk = SmallDisk()
    disk.free = 0
    async with open_room(disk, min_free_bytes=1000) as room:
        await trio.sleep(2)
        await room.send(make_batch(5))
    assert sheds(ledger(room.root)) == [("trade", 5, NOON_US, NOON_US)]


async def test_a_full_disk_keeps_what_was_accepted(
    open_room: OpenRoom,
    make_batch: MakeBatch,
    sealed_frames: SealedFrames,
    ledger: Ledger,
    autojump_clock: MockClock,
) -> None:
    """Rows that cannot be written wait, newer ones are shed, and both are told exactly."""
    disk = SmallDisk()
    async with open_room(disk) as room:
        await room.send(make_batch(2, start=0))
        await trio.sleep(2)
        disk.is_full = True
        accepted = make_batch(3, start=2)
        await room.send(accepted)
        await trio.sleep(20)
        assert is_shedding(room)
        assert room.state.failing_streams == 1
        assert metrics.total(metrics.parquet_rows_buffered) == 3
        assert room.budget.used_bytes == accepted.size_bytes
        await room.send(make_batch(7, start=900, received_us=NOON_US + 5))
        assert room.budget.used_bytes == accepted.size_bytes
        assert room.state.last_error == "[Errno 28] no space"
        disk.is_full = False
        await trio.sleep(65)
        assert not is_shedding(room)
        assert room.state.failing_streams == 0
        assert room.budget.used_bytes == 0
        await room.send(make_batch(1, start=5))
    assert sorted(sealed_frames(room.root)) == [b'{"n":%d}' % n for n in range(6)]
    assert sheds(ledger(room.root)) == [("trade", 7, NOON_US + 5, NOON_US + 5)]
    assert {path.suffix for path in room.root.rglob("*.*")} == {".parquet"}


async def test_a_disk_that_is_full_to_the_end(
    open_room: OpenRoom,
    make_batch: MakeBatch,
    sealed_frames: SealedFrames,
    autojump_clock: MockClock,
) -> None:
    """Rows that can never be written are counted as dropped, and the writer ends without an error."""
    dropped = metrics.total(metrics.messages_dropped.labels("disk"))
    disk = SmallDisk()
    disk.is_full = True
    async with open_room(disk) as room:
        await room.send(make_batch(4))
    assert metrics.total(metrics.messages_dropped.labels("disk")) == dropped + 4
    assert sealed_frames(room.root) == []


async def test_frames_that_are_no_text_are_kept(
    open_room: OpenRoom,
    make_batch: MakeBatch,
    sealed_frames: SealedFrames,
    autojump_clock: MockClock,
) -> None:
    """A frame that is not UTF-8 is kept as `unparsed`, byte for byte."""
    async with open_room() as room:
        await room.send(make_batch(frames=[b"{}", b"caf\xe9"]))
    assert sorted(sealed_frames(room.root)) == [b"caf\xe9", b"{}"]
    (path,) = room.root.rglob("unparsed/**/*.parquet")
    assert path.parts[-5:-2] == ("binance", "btcusdt", "unparsed")


async def test_what_was_left_behind_is_recovered(
    open_room: OpenRoom,
    make_batch: MakeBatch,
    write_journal: Callable[..., list[int]],
    tmp_path: Path,
    sealed_frames: SealedFrames,
    ledger: Ledger,
    autojump_clock: MockClock,
) -> None:
    """Journals of an earlier process are sealed while collecting goes on, and the ledger tells."""
    old = tmp_path / "spool/binance/btcusdt/trade/2023-11-15/1700049600000.arrows"
    ends = write_journal(old, [make_batch(3), make_batch(4, start=3), make_batch(2, start=7)])
    content = bytearray(old.read_bytes())
    content[ends[2] - 20] ^= 1  # a row's bytes in the second batch
    old.write_bytes(bytes(content) + b"torn")
    old.with_name("1700049600001.parquet.tmp").write_bytes(b"half")
    async with open_room() as room:
        with trio.fail_after(1):
            await room.wakeups.receive()
        await room.send(make_batch(1, start=50))
    assert sorted(sealed_frames(room.root)) == sorted(b'{"n":%d}' % n for n in (0, 1, 2, 7, 8, 50))
    assert [orjson.loads(row) for row in ledger(room.root)] == [
        {
            "event": "recovered",
            "data_type": "trade",
            "rows": 5,
            "lost_rows": 4,
            "lost_bytes": ends[2] - ends[1] + 4,
            "journal": "binance/btcusdt/trade/2023-11-15/1700049600000.arrows",
        }
    ]
    assert {path.suffix for path in room.root.rglob("*.*")} == {".parquet"}


async def test_sealed_files_of_an_earlier_process_wake_the_uploader(
    open_room: OpenRoom, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """What waits in the spool since an earlier process is not forgotten."""
    old = tmp_path / "spool/binance/btcusdt/trade/2023-11-15/1700049600000.parquet"
    old.parent.mkdir(parents=True)
    old.touch()
    async with open_room() as room:
        with trio.fail_after(1):
            await room.wakeups.receive()
    assert old.exists()


async def test_nobody_listens(
    open_room: OpenRoom,
    make_batch: MakeBatch,
    sealed_frames: SealedFrames,
    autojump_clock: MockClock,
) -> None:
    """A wake-up that nobody receives disturbs nothing."""
    async with open_room(max_file_age_secs=10) as room:
        for n in range(3):
            await room.send(make_batch(1, start=n, received_us=clock_us()))
            await trio.sleep(15)
    assert len(sealed_frames(room.root)) == 3


class StubbornDisk(SmallDisk):
    """A disk that fails to rename as often as it is told."""

    failures = 0

    def rename(self, old: Path, new: Path) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EIO, "injected")
        super().rename(old, new)


async def test_a_seal_is_tried_again(
    open_room: OpenRoom,
    make_batch: MakeBatch,
    sealed_frames: SealedFrames,
    autojump_clock: MockClock,
) -> None:
    """A seal that failed is tried again, later and later, while collecting goes on."""
    disk = StubbornDisk()
    disk.failures = 5
    async with open_room(disk, max_file_age_secs=10) as room:
        await room.send(make_batch(2))
        await trio.sleep(20)
        assert len(room.journals()) == 1
        assert room.state.waiting_seals == 1
        with trio.fail_after(40):
            await room.wakeups.receive()
        assert room.state.waiting_seals == 0
    assert len(sealed_frames(room.root)) == 2


async def test_one_visit_to_the_thread_for_all_streams(
    open_room: OpenRoom,
    make_batch: MakeBatch,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Streams that are due together are written in one round."""
    rounds: list[int] = []
    work = Journals.work

    def count(self: Journals, todo: FlushRound) -> FlushResult:
        rounds.append(len(todo.due))
        return work(self, todo)

    monkeypatch.setattr(Journals, "work", count)
    async with open_room() as room:
        for n in range(50):
            await room.send(make_batch(1, stream=STREAM._replace(symbol=f"s{n}")))
        await trio.sleep(1.5)
    assert [due for due in rounds if due] == [50]


async def test_with_real_threads(
    tmp_path: Path, make_batch: MakeBatch, sealed_frames: SealedFrames
) -> None:
    """The whole room works with its threads, many streams and the real clock."""
    storage = StorageSection(mode="s3", data_dir=str(tmp_path), min_free_bytes=0)
    to_writer, batches = trio.open_memory_channel[Batch](10)
    wake_uploader, wakeups = trio.open_memory_channel[None](1)
    budget = ByteBudget(1 << 20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: run_writer(storage, batches, wake_uploader, budget, server="tokyo")
        )
        with to_writer:
            for n in range(200):
                batch = make_batch(10, stream=STREAM._replace(symbol=f"s{n % 20}"), start=10 * n)
                await budget.acquire(batch.size_bytes)
                await to_writer.send(batch)
        async for _wakeup in wakeups:
            pass
    assert budget.used_bytes == 0
    assert len(set(sealed_frames(tmp_path))) == len(sealed_frames(tmp_path)) == 2000
    assert len(sealed_paths(tmp_path, "tokyo")) == 20
    assert metrics.total(metrics.parquet_rows_buffered) == 0
