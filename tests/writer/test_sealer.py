"""The queue of seals: what is told about each journal, and what happens when one fails."""

import errno
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import orjson
import pytest
import structlog
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.disk import BrokenDisk, FaultyDisk, ShortDisk
from trio_collector.disk import LOCAL_DISK, Disk
from trio_collector.events import Batch, DataType, Stream
from trio_collector.telemetry import metrics
from trio_collector.threads import Worker
from trio_collector.writer.context import WriterContext
from trio_collector.writer.disk_guard import DiskState
from trio_collector.writer.journals import ClosedJournal
from trio_collector.writer.recovery import Leftovers
from trio_collector.writer.sealer import Sealer
from trio_collector.writer.segment import Spool

MakeBatch = Callable[..., Batch]
WriteJournal = Callable[..., list[int]]

JOURNAL = PurePosixPath("binance/btcusdt/trade/2023-11-15/1700049600000.arrows")
SEALED = JOURNAL.with_suffix(".parquet")
NOW_US = 1_700_050_000_000_000


class Scene(msgspec.Struct):
    """A sealer, and what it has told."""

    root: Path
    sealer: Sealer
    state: DiskState
    wakeups: list[float]
    reported: list[Batch]

    def rows(self) -> list[dict[str, Any]]:
        return [orjson.loads(frame) for batch in self.reported for frame in batch.frames]

    def close(self, rows: int, content: bytes | None = None) -> None:
        """Hand on the journal, with other `content` if that is given, as one of this process."""
        if content is not None:
            (self.root / JOURNAL).write_bytes(content)
        self.sealer.add_closed(ClosedJournal(self.root / JOURNAL, rows))

    def leave(self, content: bytes) -> None:
        """Hand on a journal with `content` as one of an earlier process."""
        (self.root / JOURNAL).write_bytes(content)
        self.sealer.add_leftovers(Leftovers([], [JOURNAL], []))

    def exists(self, path: PurePosixPath) -> bool:
        return (self.root / path).exists()


OpenScene = Callable[..., Scene]


@pytest.fixture
def scene_on(tmp_path: Path, inline_worker: Callable[[], Worker]) -> OpenScene:
    """Make a sealer on a disk."""

    def make(disk: Disk = LOCAL_DISK) -> Scene:
        state, wakeups, reported = DiskState(), list[float](), list[Batch]()
        sealer = Sealer(
            WriterContext(Spool(tmp_path), disk, state, lambda: NOW_US),
            inline_worker(),
            wake_uploader=lambda: wakeups.append(trio.current_time()),
            report=reported.append,
        )
        return Scene(tmp_path, sealer, state, wakeups, reported)

    return make


@pytest.fixture
def journal(tmp_path: Path, make_batch: MakeBatch, write_journal: WriteJournal) -> bytes:
    """The bytes of a journal of nine rows at its place below `tmp_path`; four are in the middle."""
    batches = [make_batch(3), make_batch(4, start=3), make_batch(2, start=7)]
    write_journal(tmp_path / JOURNAL, batches)
    return (tmp_path / JOURNAL).read_bytes()


def counted() -> tuple[float, float, float, float]:
    """Return rows and files that were sealed, seals that were timed, and errors."""
    files = metrics.parquet_files_rotated.labels("binance", "btcusdt")
    timed = seal_seconds("_count")
    return (
        metrics.parquet_rows_written._value.get(),
        files._value.get(),
        timed,
        metrics.parquet_write_errors._value.get(),
    )


def seal_seconds(suffix: str) -> float:
    (metric,) = metrics.seal_seconds.collect()
    return next(sample.value for sample in metric.samples if sample.name.endswith(suffix))


def since(before: tuple[float, float, float, float]) -> tuple[float, ...]:
    return tuple(now - then for now, then in zip(counted(), before, strict=True))


async def test_a_journal_of_this_process(scene_on: OpenScene, journal: bytes) -> None:
    """A journal that holds all that was acknowledged is sealed, counted, and no news."""
    scene, before, seconds = scene_on(), counted(), seal_seconds("_sum")
    scene.close(9)
    assert scene.state.waiting_seals == 1
    await scene.sealer.drain()
    assert 0 < seal_seconds("_sum") - seconds < 60
    assert since(before) == (9, 1, 1, 0)
    assert len(scene.wakeups) == 1
    assert scene.rows() == []
    assert scene.state == DiskState()
    assert scene.exists(SEALED)


async def test_a_journal_that_lacks_rows(scene_on: OpenScene, journal: bytes) -> None:
    """Rows that were acknowledged and are not there are told as lost, also if none are left."""
    scene = scene_on()
    scene.close(11)
    with structlog.testing.capture_logs() as entries:
        await scene.sealer.drain()
    assert [(row["event"], row["rows"], row["lost_rows"]) for row in scene.rows()] == [
        ("recovered", 9, 2)
    ]
    assert ("journal recovered", "error") in [
        (entry["event"], entry["log_level"]) for entry in entries
    ]
    scene.close(5, b"")
    await scene.sealer.drain()
    assert [(row["rows"], row["lost_rows"]) for row in scene.rows()] == [(9, 2), (0, 5)]
    assert scene.exists("quarantine" / JOURNAL)
    assert len(scene.wakeups) == 2


async def test_a_journal_that_never_got_a_row(scene_on: OpenScene, journal: bytes) -> None:
    """An empty journal without acknowledged rows goes away, and the uploader sleeps on."""
    scene = scene_on()
    scene.close(0, b"")
    await scene.sealer.drain()
    assert not scene.exists(JOURNAL)
    assert (scene.wakeups, scene.rows()) == ([], [])


async def test_one_row_counts(scene_on: OpenScene, journal: bytes) -> None:
    """A single row that was acknowledged is a loss if it is gone, and keeps the file."""
    scene = scene_on()
    scene.close(10)
    with structlog.testing.capture_logs() as entries:
        await scene.sealer.drain()
    assert [entry["log_level"] for entry in entries] == ["info", "error"]
    scene.close(1, b"")
    await scene.sealer.drain()
    assert [(row["rows"], row["lost_rows"]) for row in scene.rows()] == [(9, 1), (0, 1)]
    assert scene.exists("quarantine" / JOURNAL)


async def test_an_error_of_ours_is_tried_again_as_well(scene_on: OpenScene, journal: bytes) -> None:
    """A sealed file that does not hold what it should is an error like one of the disk."""
    scene, before = scene_on(ShortDisk(1)), counted()
    scene.close(9)
    with structlog.testing.capture_logs() as entries:
        await scene.sealer.drain()
    assert since(before) == (9, 1, 1, 1)
    assert "the disk took" in (scene.state.last_error or "")
    assert [entry["event"] for entry in entries] == [
        "seal failed, will be tried again",
        "segment sealed",
    ]


async def test_a_temporary_file_alone(scene_on: OpenScene, tmp_path: Path) -> None:
    """A temporary file without a journal is removed."""
    scene, temporary = scene_on(), SEALED.with_name(f"{SEALED.name}.tmp")
    target = tmp_path / temporary
    await trio.to_thread.run_sync(lambda: target.parent.mkdir(parents=True))
    await trio.Path(target).write_bytes(b"half")
    scene.sealer.add_leftovers(Leftovers([temporary], [], []))
    await scene.sealer.drain()
    assert not scene.exists(temporary)
    assert (scene.wakeups, scene.rows()) == ([], [])


async def test_a_journal_of_an_earlier_process(scene_on: OpenScene, journal: bytes) -> None:
    """What is salvaged is told, with what was lost; a complete sealed file is no news."""
    scene = scene_on()
    scene.leave(journal + b"torn")
    with structlog.testing.capture_logs() as entries:
        await scene.sealer.drain()
    (row,) = scene.reported
    assert row.stream == Stream("binance", "btcusdt", DataType.STATUS)
    assert (row.received_us, row.size_bytes) == (NOW_US, 0)
    expected = {
        "event": "recovered",
        "data_type": "trade",
        "rows": 9,
        "lost_rows": 0,
        "lost_bytes": 4,
        "journal": str(JOURNAL),
    }
    assert scene.rows() == [expected]
    levels = {entry["event"]: entry["log_level"] for entry in entries}
    assert levels == {"segment sealed": "info", "journal recovered": "info"}
    scene.leave(journal)
    await scene.sealer.drain()
    assert scene.rows() == [expected]
    assert len(scene.wakeups) == 2
    assert not scene.exists(JOURNAL)


async def test_rows_lost_beside_a_complete_file_are_told(
    scene_on: OpenScene, journal: bytes
) -> None:
    """A journal that lost rows in the middle is told of, though its sealed file is complete."""
    scene, damaged = scene_on(), bytearray(journal)
    damaged[journal.index(b'{"n":4}')] ^= 1
    for _ in range(2):
        scene.leave(bytes(damaged))
        await scene.sealer.drain()
    assert [(row["rows"], row["lost_rows"]) for row in scene.rows()] == [(5, 4), (5, 4)]


async def test_what_is_unreadable_is_told_as_lost(scene_on: OpenScene, journal: bytes) -> None:
    """A journal that goes into quarantine is an error, with its bytes."""
    scene = scene_on()
    scene.leave(b"no journal at all")
    with structlog.testing.capture_logs() as entries:
        await scene.sealer.drain()
    assert [(row["rows"], row["lost_bytes"]) for row in scene.rows()] == [(0, 17)]
    assert {entry["log_level"] for entry in entries} == {"error"}


async def test_temporary_files_go_first(
    scene_on: OpenScene, journal: bytes, tmp_path: Path
) -> None:
    """A temporary file is removed before a seal creates its own; what is sealed wakes the uploader."""
    scene, before = scene_on(), counted()
    temporary = SEALED.with_name(f"{SEALED.name}.tmp")
    (tmp_path / temporary).write_bytes(b"half")
    scene.sealer.add_leftovers(Leftovers([temporary], [JOURNAL], [SEALED]))
    assert len(scene.wakeups) == 1
    assert scene.state.waiting_seals == 2
    with structlog.testing.capture_logs() as entries:
        await scene.sealer.drain()
    assert [entry["event"] for entry in entries][:2] == [
        "removed a file without rows",
        "segment sealed",
    ]
    assert since(before) == (9, 1, 1, 0)
    assert scene_on().wakeups == []


async def test_nothing_left_wakes_nobody(scene_on: OpenScene) -> None:
    """A start on an empty folder has nothing to deliver."""
    scene = scene_on()
    scene.sealer.add_leftovers(Leftovers([], [], []))
    await scene.sealer.drain()
    assert (scene.wakeups, scene.state.waiting_seals) == ([], 0)


async def test_a_seal_that_fails_is_tried_later_and_later(
    scene_on: OpenScene, journal: bytes, autojump_clock: MockClock
) -> None:
    """The delays grow; each failure is counted, the first one is logged."""
    disk = BrokenDisk("rename", OSError(errno.EIO, "injected"))
    scene, before = scene_on(disk), counted()
    tried: list[float] = []
    check = disk.check

    def note(call: str) -> bool:
        if call == "rename":
            tried.append(trio.current_time())
        if len(tried) == 4:
            return False
        return check(call)

    disk.check = note  # type: ignore[method-assign]  # the fourth attempt works
    with structlog.testing.capture_logs() as entries:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.sealer.run)
            await trio.sleep(0.5)
            scene.close(9)
            await wait_all_tasks_blocked()
            assert scene.state.waiting_seals == 1
            assert scene.state.last_error == "[Errno 5] injected"
            assert [entry["event"] for entry in entries] == ["seal failed, will be tried again"]
            await trio.sleep(20)
            scene.sealer.end()
    assert tried == [0.5, 1.5, 3.5, 7.5]
    assert scene.wakeups == [7.5]
    assert since(before) == (9, 1, 1, 3)
    assert scene.state.waiting_seals == 0
    assert [entry["event"] for entry in entries] == [
        "seal failed, will be tried again",
        "segment sealed",
    ]


async def test_one_bad_journal_holds_up_no_other(
    scene_on: OpenScene,
    journal: bytes,
    make_batch: MakeBatch,
    write_journal: WriteJournal,
    autojump_clock: MockClock,
) -> None:
    """The journal behind one that failed is sealed after the first pause; then all goes on at once."""
    scene = scene_on(FaultyDisk(1, ["rename"], OSError(errno.EIO, "injected")))
    second = scene.root / JOURNAL.with_name("1700049600001.arrows")
    write_journal(second, [make_batch(3)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.sealer.run)
        scene.close(9)
        scene.sealer.add_closed(ClosedJournal(second, 3))
        await trio.sleep(0.9)
        assert scene.wakeups == []
        await trio.sleep(5)
        assert scene.wakeups == [1.0, 1.0]
        scene.sealer.end()


async def test_the_end_comes_at_once(
    scene_on: OpenScene, journal: bytes, autojump_clock: MockClock
) -> None:
    """A sealer that pauses, or has nothing to do, ends when it is asked to; the drain tries twice."""
    disk = BrokenDisk("rename", OSError(errno.EIO, "injected"))
    scene, before = scene_on(disk), counted()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.sealer.run)
        await trio.sleep(1)
        scene.close(9)
        await wait_all_tasks_blocked()
        scene.sealer.end()
    assert trio.current_time() == 1
    assert since(before)[3] == 1
    await scene.sealer.drain()
    assert since(before)[3] == 3
    with structlog.testing.capture_logs() as entries:
        scene.sealer.give_up()
    assert [(entry["event"], entry["path"]) for entry in entries] == [
        ("journal is left for the next start", str(JOURNAL))
    ]
    assert scene.exists(JOURNAL)
