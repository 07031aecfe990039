"""A snapshot says what the vitals, the histories and the gauges say, in units that fit."""

from collections.abc import Callable

import msgspec
import pytest

from trio_collector.config import StorageSection
from trio_collector.endpoint.gauges import Gauges, measure_disk, read_gauges
from trio_collector.endpoint.history import History
from trio_collector.endpoint.survey import Place, take_snapshot, with_histories
from trio_collector.events import Batch
from trio_collector.ledger import LedgerEvent
from trio_collector.snapshot import Snapshot, StreamStatus
from trio_collector.vitals import StreamState, Vitals

START_US = 1_700_000_000_000_000
S = 1_000_000


class Disk(msgspec.Struct):
    """What the writer tells."""

    is_low: bool = False
    failing_streams: int = 2
    last_error: str | None = "no space"
    open_journals: int = 4
    journal_bytes: int = 5
    waiting_seals: int = 6


class Delivery(msgspec.Struct):
    """What the uploader tells."""

    waiting_files: int = 7
    waiting_bytes: int = 8
    last_error: str | None = "503"
    refusal: str | None = None
    is_store_down: bool = True

    def backlog_age_s(self, now_s: float) -> float:
        return now_s - START_US / S


@pytest.fixture
def take(storage: StorageSection) -> Callable[..., Snapshot]:
    """Take a snapshot some seconds after the start."""

    def at(vitals: Vitals, after_s: float, history: History | None = None) -> Snapshot:
        return take_snapshot(
            vitals,
            history or History(),
            Gauges(rows_dropped=3, spool_files=1),
            Place(storage, "tokyo-1"),
            now_us=START_US + int(after_s * S),
            disk_total_bytes=100,
        )

    return at


def first(snapshot: Snapshot) -> StreamStatus:
    return snapshot.streams[0]


def test_ages(vitals: Vitals, take: Callable[..., Snapshot]) -> None:
    """An age counts from the latest row; a clock that was set back makes none of them negative."""
    assert first(take(vitals, 12.5)).age_s == 12.5
    assert take(vitals, 12.5).uptime_s == 12.5
    assert first(take(vitals, -5)).age_s == 0.0


def test_death(vitals: Vitals, take: Callable[..., Snapshot]) -> None:
    """A stream is dead when its session calls it stale, or after data_timeout_s without one; when
    the collector left it, never.
    """
    stream = next(iter(vitals.streams))
    assert not first(take(vitals, 1000)).is_dead
    vitals.noted(stream, LedgerEvent.STALE, START_US, {"limit_s": 10.0})
    assert first(take(vitals, 10)).is_dead
    for name in vitals.connections:
        vitals.ended(name, 1, START_US, reason="close_frame", detail="")
    assert not first(take(vitals, 90)).is_dead
    assert first(take(vitals, 91)).is_dead
    for name in vitals.connections:
        vitals.ended(name, 2, START_US, reason="stopped", detail="")
    assert not first(take(vitals, 91)).is_dead


def test_what_never_had_data(vitals: Vitals, take: Callable[..., Snapshot]) -> None:
    """It has no age, and is dead once the process is old enough."""
    never = next(iter(vitals.streams.values()))
    never.latest_us, never.state = None, StreamState.SUBSCRIBED
    assert first(take(vitals, 91)).age_s is None
    assert first(take(vitals, 91)).is_dead


def test_why_a_stream_is_down(vitals: Vitals, take: Callable[..., Snapshot]) -> None:
    """A stream tells the reason of its connection, or its own refusal."""
    stream, name = next(iter(vitals.streams)), next(iter(vitals.connections))
    vitals.ended(name, 1, START_US, reason="tls_error", detail="expired")
    assert first(take(vitals, 1)).detail == "tls_error: expired"
    vitals.noted(stream, LedgerEvent.REJECTED, START_US, {"reason": "no such market"})
    assert first(take(vitals, 1)).detail == "no such market"


def test_storage(vitals: Vitals, take: Callable[..., Snapshot]) -> None:
    """The writer and the uploader are heard where they speak; else the metrics."""
    assert take(vitals, 1).storage.spool_files == 1
    vitals.disk, vitals.delivery = Disk(), Delivery()
    storage = take(vitals, 60).storage
    assert (storage.journals, storage.journal_bytes, storage.waiting_seals) == (4, 5, 6)
    assert (storage.spool_files, storage.spool_bytes, storage.spool_age_s) == (7, 8, 60.0)
    assert storage.disk_total_bytes == 100


def test_verdict(vitals: Vitals, take: Callable[..., Snapshot]) -> None:
    """A snapshot comes with its verdict."""
    vitals.disk = Disk()
    assert [reason.code for reason in take(vitals, 1).health.reasons] == ["disk_error"]


def test_histories(
    vitals: Vitals, take: Callable[..., Snapshot], new_batch: Callable[..., Batch]
) -> None:
    """Histories are added on demand, whole or the latest samples alone."""
    history = History()
    stream = next(iter(vitals.streams))
    for rows in (1, 4):
        vitals.received(new_batch(stream, rows, START_US))
        history.sample(vitals.streams, 0, 2.0)
    snapshot = take(vitals, 1, history)
    assert first(snapshot).history == ()
    assert first(with_histories(snapshot, history)).history == (1.0, 2.0)
    assert first(with_histories(snapshot, history, 1)).history == (2.0,)
    assert with_histories(snapshot, history).history == (1.5, 2.0)
    assert first(with_histories(snapshot, History())).history == ()


def test_gauges_can_be_read() -> None:
    """Every metric that is shown is there."""
    assert min(read_gauges()) >= 0


def test_disk_of_a_folder_that_is_not_there_yet(storage: StorageSection) -> None:
    """The size is that of the filesystem that the folder will be on."""
    size = measure_disk(storage.data_dir)
    assert size is not None
    assert size > 0
