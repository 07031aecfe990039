"""Rounds of work on the growing journals."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from tests.support.disk import BrokenDisk, FaultyDisk, no_descriptor_leaks
from trio_collector.disk import LOCAL_DISK, LocalDisk
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.journal_reader import open_journal
from trio_collector.layout import US_PER_HOUR
from trio_collector.telemetry import metrics
from trio_collector.writer.journals import FlushResult, FlushRound, Journals, SegmentStart
from trio_collector.writer.rotation import SegmentLimits
from trio_collector.writer.segment import Spool

NOON_US = 1_700_049_600_000_000
TRADES = Stream("binance", "btcusdt", DataType.TRADE)

MakeBatch = Callable[..., Batch]


class SyncDisk(LocalDisk):
    """Counts syncs, and fails those that are named."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.failing: set[str] = set()

    @property
    def has_group_sync(self) -> bool:
        return True

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise OSError(errno.EIO, "injected")

    def sync(self, descriptor: int) -> None:
        self._call("sync")

    def sync_all(self, descriptor: int) -> None:
        self._call("sync_all")

    def sync_folder(self, path: Path) -> None:
        self._call("sync_folder")


@pytest.fixture
def disk() -> SyncDisk:
    return SyncDisk()


@pytest.fixture
def journals(tmp_path: Path, disk: SyncDisk) -> Journals:
    return Journals(Spool(tmp_path), SegmentLimits(max_age_s=600, max_bytes=5000), disk)


def rows_of(path: Path) -> int:
    with open_journal(path) as reader:
        return sum(rows.num_rows for rows in reader)


def test_rows_of_one_stream_share_a_journal(journals: Journals, make_batch: MakeBatch) -> None:
    """Rounds append to the same file until it ends."""
    for _ in range(3):
        result = journals.work(FlushRound(NOON_US, [[make_batch(2), make_batch(3)]]))
        assert len(result.written) == 2
    (closed,) = journals.work(FlushRound(NOON_US, ends=True)).closed
    assert closed.rows == rows_of(closed.path) == 15


def test_the_hour_ends_a_segment(journals: Journals, make_batch: MakeBatch) -> None:
    """Rows of two hours in one round go into two segments, each in its folder."""
    later_us = NOON_US + 12 * US_PER_HOUR
    due = [make_batch(2), make_batch(3, received_us=later_us)]
    (closed,) = journals.work(FlushRound(NOON_US, [due])).closed
    (later,) = journals.work(FlushRound(later_us, ends=True)).closed
    assert (closed.rows, later.rows) == (2, 3)
    assert [path.parent.name for path in (closed.path, later.path)] == ["2023-11-15", "2023-11-16"]


@pytest.mark.parametrize(
    ("first_us", "end_us"),
    [(NOON_US, NOON_US + 600_000_000), (NOON_US - 5_000_000, NOON_US)],  # its age, its hour
)
def test_the_clock_ends_a_silent_segment(
    journals: Journals, make_batch: MakeBatch, first_us: int, end_us: int
) -> None:
    """A segment that no row comes to any more ends with its age or its hour."""
    journals.work(FlushRound(first_us, [[make_batch(2, received_us=first_us)]]))
    assert journals.work(FlushRound(end_us - 1, looks=True)).closed == []
    assert journals.work(FlushRound(end_us)).closed == []
    assert len(journals.work(FlushRound(end_us, looks=True)).closed) == 1


def test_the_size_ends_a_segment(journals: Journals, make_batch: MakeBatch) -> None:
    """A segment that has its size takes no further append."""
    results = [journals.work(FlushRound(NOON_US, [[make_batch(50)]])) for _ in range(3)]
    assert [len(result.closed) for result in results] == [0, 0, 1]


def test_unfit_rows_are_kept_as_unparsed(journals: Journals, make_batch: MakeBatch) -> None:
    """Rows that are no text go into the stream's `unparsed` segment; the others stay in place."""
    frames = [b"{}", b"caf\xe9", b"[]"]
    result = journals.work(FlushRound(NOON_US, [[make_batch(frames=frames), make_batch(2)]]))
    assert sum(batch.rows for batch in result.written) == 5
    assert result.failed == {}
    closed = journals.work(FlushRound(NOON_US, ends=True)).closed
    rows = {path.parts[-3]: rows for path, rows in closed}
    assert rows == {"trade": 4, "unparsed": 1}


def test_unfit_rows_are_counted_and_reported_once(
    journals: Journals, make_batch: MakeBatch
) -> None:
    """Each row is counted; the first of a stream is a warning."""
    before = metrics.unparsed.labels("binance")._value.get()
    with structlog.testing.capture_logs() as entries:
        for _ in range(2):
            unfit = make_batch(frames=[b"{}", b"caf\xe9", b"\xff"])
            other = make_batch(stream=TRADES._replace(symbol="ethusdt"), frames=[b"{}", b"\xff"])
            journals.work(FlushRound(NOON_US, [[unfit], [other]]))
    assert metrics.unparsed.labels("binance")._value.get() == before + 6
    assert [entry["event"] for entry in entries] == ["rows kept as unparsed"] * 2
    assert {entry["stream"].symbol for entry in entries} == {"btcusdt", "ethusdt"}


def test_rows_behind_failed_ones_fail_as_well(tmp_path: Path, make_batch: MakeBatch) -> None:
    """Unfit rows of a stream that cannot be written keep their place in its order."""
    journals = Journals(Spool(tmp_path), SegmentLimits(600, 5000), StreamDisk("trade"))
    batches = [make_batch(2), make_batch(frames=[b"\xff"], received_us=NOON_US + US_PER_HOUR)]
    result = journals.work(FlushRound(NOON_US, [batches]))
    assert result.failed == {TRADES: batches}
    assert result.written == []


def test_what_is_open_is_told(journals: Journals, make_batch: MakeBatch) -> None:
    """A round tells which segments it started, how many journals are open, and their size."""
    due = many(make_batch)[:3]
    result = journals.work(FlushRound(NOON_US, due))
    assert result.started == [SegmentStart(batches[0].stream, NOON_US) for batches in due]
    assert result.open_journals == 3
    again = journals.work(FlushRound(NOON_US, due[:1]))
    assert (again.started, again.open_journals) == ([], 3)
    assert again.journal_bytes > result.journal_bytes
    closed = journals.work(FlushRound(NOON_US, ends=True))
    assert (closed.open_journals, closed.journal_bytes) == (0, 0)
    assert sum(path.stat().st_size for path, _ in closed.closed) == again.journal_bytes


@pytest.mark.parametrize(
    "call", ["create", "write", "sync", "sync_folder", "sync_all", "open_folder", "close"]
)
def test_errors_are_told_and_counted(tmp_path: Path, make_batch: MakeBatch, call: str) -> None:
    """A round that fails somewhere says with what; the counter is what an alert looks at."""
    disk = BrokenDisk(call, OSError(errno.EIO, "injected"))
    journals = Journals(Spool(tmp_path), SegmentLimits(600, 5000), disk)
    due = many(make_batch)[: 12 if call in ("sync_all", "open_folder") else 1]
    before = metrics.parquet_write_errors._value.get()
    result = journals.work(FlushRound(NOON_US, due, syncs=True))
    closed = journals.work(FlushRound(NOON_US, ends=True)).closed
    if call == "close":
        assert result.error is None
        assert len(closed) == 1
    else:
        assert result.error == "[Errno 5] injected"
    assert metrics.parquet_write_errors._value.get() > before


def test_a_failed_append_ends_its_journal(tmp_path: Path, make_batch: MakeBatch) -> None:
    """Nothing is written behind a torn append: the rows go into a new journal."""
    disk = FaultyDisk(2, ["write"], OSError(errno.ENOSPC, "injected"))
    journals = Journals(Spool(tmp_path), SegmentLimits(600, 5000), disk)
    first, second = make_batch(2), make_batch(3, start=2)
    journals.work(FlushRound(NOON_US, [[first]]))
    result = journals.work(FlushRound(NOON_US, [[second]]))
    assert result.failed == {TRADES: [second]}
    assert [rows for _, rows in result.closed] == [2]
    journals.work(FlushRound(NOON_US, [[second]]))
    closed = [*result.closed, *journals.work(FlushRound(NOON_US, ends=True)).closed]
    assert [rows_of(path) for path, _ in closed] == [rows for _, rows in closed] == [2, 3]


def test_journals_are_synced_before_they_are_handed_on(
    journals: Journals, disk: SyncDisk, make_batch: MakeBatch
) -> None:
    """A journal that ends is synced in the same round, with its folders, though no sync is due."""
    journals.work(FlushRound(NOON_US, [[make_batch(2)]]))
    assert disk.calls == []
    later_us = NOON_US + 600_000_000
    assert len(journals.work(FlushRound(later_us, looks=True)).closed) == 1
    assert disk.calls == ["sync_folder"] * 5 + ["sync"]  # the root, and four folders below it


def test_no_descriptor_is_left(tmp_path: Path, make_batch: MakeBatch) -> None:
    """When all journals have ended, no descriptor is open: not theirs, nor that of the root."""
    with no_descriptor_leaks():
        journals = Journals(Spool(tmp_path), SegmentLimits(600, 5000), LOCAL_DISK)
        journals.work(FlushRound(NOON_US, many(make_batch), syncs=True))
        journals.work(FlushRound(NOON_US, ends=True))


def test_dirty_journals_are_synced_when_it_is_time(
    journals: Journals, disk: SyncDisk, make_batch: MakeBatch
) -> None:
    """A few journals are synced one by one, with their folders, and only if they are dirty."""
    journals.work(FlushRound(NOON_US, [[make_batch(2)]]))
    assert disk.calls == []
    journals.work(FlushRound(NOON_US, syncs=True))
    assert set(disk.calls[:-1]) == {"sync_folder"}
    assert disk.calls[-1] == "sync"
    disk.calls.clear()
    journals.work(FlushRound(NOON_US, syncs=True))
    assert disk.calls == []


def many(make_batch: MakeBatch) -> list[list[Batch]]:
    return [[make_batch(2, stream=TRADES._replace(symbol=f"s{n}"))] for n in range(12)]


def test_many_dirty_journals_are_synced_together(
    journals: Journals, disk: SyncDisk, make_batch: MakeBatch
) -> None:
    """From a number of dirty journals on there is one call for all of them."""
    journals.work(FlushRound(NOON_US, many(make_batch), syncs=True))
    assert disk.calls == ["sync_all"]
    journals.work(FlushRound(NOON_US, syncs=True))
    assert disk.calls == ["sync_all"]


@pytest.mark.parametrize(("count", "call"), [(1, "sync"), (1, "sync_folder"), (12, "sync_all")])
def test_a_failed_sync_ends_the_journals(
    journals: Journals, disk: SyncDisk, make_batch: MakeBatch, count: int, call: str
) -> None:
    """What could not be synced is closed and not synced again; new rows go into new files."""
    disk.failing = {call}
    with structlog.testing.capture_logs() as entries:
        result = journals.work(FlushRound(NOON_US, many(make_batch)[:count], syncs=True))
    told = [entry for entry in entries if entry["event"] == "journals not synced, new ones begin"]
    assert [entry["count"] for entry in told] == [count]
    assert len(result.closed) == count
    assert result.failed == {}
    assert result.error == "[Errno 5] injected"
    disk.failing, disk.calls = set(), []
    journals.work(FlushRound(NOON_US, many(make_batch)[:count]))
    assert disk.calls == []
    again = journals.work(FlushRound(NOON_US, ends=True)).closed
    assert {path for path, _ in again}.isdisjoint(path for path, _ in result.closed)
    assert all(rows_of(path) == rows == 2 for path, rows in (*result.closed, *again))


def test_a_failed_sync_ends_no_other_journal(
    journals: Journals, disk: SyncDisk, make_batch: MakeBatch
) -> None:
    """Where the journal that ended cannot be synced, the next one of its stream stays open."""
    disk.failing = {"sync"}
    due = [make_batch(2), make_batch(3, received_us=NOON_US + US_PER_HOUR)]
    result = journals.work(FlushRound(NOON_US, [due]))
    assert [rows for _, rows in result.closed] == [2]
    assert result.open_journals == 1


class StreamDisk(LocalDisk):
    """Fails to write below one folder."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def create(self, path: Path) -> int:
        if self.name in path.parts:
            raise PermissionError(errno.EACCES, "injected")
        return super().create(path)


def test_a_failing_stream_fails_alone(tmp_path: Path, make_batch: MakeBatch) -> None:
    """Rows that cannot be written come back in order; those of other streams are written."""
    journals = Journals(Spool(tmp_path), SegmentLimits(600, 5000), StreamDisk("s1"))
    due = many(make_batch)[:3]
    due[1].append(make_batch(3, stream=due[1][0].stream, received_us=NOON_US + US_PER_HOUR))
    result = journals.work(FlushRound(NOON_US, due))
    assert result.failed == {due[1][0].stream: due[1]}
    assert len(result.written) == 2
    journals.work(FlushRound(NOON_US, ends=True))


class BlindDisk(LocalDisk):
    def free_bytes(self, path: Path) -> int:
        raise OSError(errno.EIO, "injected")


def test_free_space_is_looked_at(tmp_path: Path) -> None:
    """The free bytes come with a round that looks; not to know them is no disaster."""
    limits = SegmentLimits(600, 5000)
    look = FlushRound(NOON_US, looks=True)
    free_bytes = Journals(Spool(tmp_path), limits, LocalDisk()).work(look).free_bytes
    assert free_bytes is not None
    assert free_bytes > 0
    assert Journals(Spool(tmp_path), limits, BlindDisk()).work(look).free_bytes is None
    assert Journals(Spool(tmp_path), limits, LocalDisk()).work(FlushRound(NOON_US)) == FlushResult()
