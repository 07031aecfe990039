"""A snapshot says what the vitals, the histories and the gauges say, in units that fit."""

from collections.abc import Callable

import msgspec
import pytest

from trio_collector.config.settings import StorageSection
from trio_collector.endpoint.history import History
from trio_collector.endpoint.status_builder import Deployment, build_status, with_histories
from trio_collector.endpoint.totals import Totals, measure_disk, read_totals
from trio_collector.events import Batch
from trio_collector.ledger import LedgerEvent
from trio_collector.telemetry.live_state import LiveState, StreamState
from trio_collector.telemetry.status_document import StatusDocument, StreamStatus

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
def take(storage: StorageSection) -> Callable[..., StatusDocument]:
    """Take a snapshot some seconds after the start."""

    def at(live: LiveState, after_s: float, history: History | None = None) -> StatusDocument:
        return build_status(
            live,
            history or History(),
            Totals(rows_dropped=3, spool_files=1),
            Deployment(storage, "tokyo-1"),
            now_us=START_US + int(after_s * S),
            disk_total_bytes=100,
        )

    return at


def first(snapshot: StatusDocument) -> StreamStatus:
    return snapshot.streams[0]


def test_ages(live: LiveState, take: Callable[..., StatusDocument]) -> None:
    """An age counts from the latest row; a clock that was set back makes none of them negative."""
    assert first(take(live, 12.5)).age_s == 12.5
    assert take(live, 12.5).uptime_s == 12.5
    assert first(take(live, -5)).age_s == 0.0


def test_death(live: LiveState, take: Callable[..., StatusDocument]) -> None:
    """A stream is dead when its session calls it stale, or after data_timeout_s without one; when
    the collector left it, never.
    """
    stream = next(iter(live.streams))
    assert not first(take(live, 1000)).is_dead
    live.noted(stream, LedgerEvent.STALE, START_US, {"limit_s": 10.0})
    assert first(take(live, 10)).is_dead
    for name in live.connections:
        live.ended(name, 1, START_US, reason="close_frame", detail="")
    assert not first(take(live, 90)).is_dead
    assert first(take(live, 91)).is_dead
    for name in live.connections:
        live.ended(name, 2, START_US, reason="stopped", detail="")
    assert not first(take(live, 91)).is_dead


def test_what_never_had_data(live: LiveState, take: Callable[..., StatusDocument]) -> None:
    """It has no age, and is dead once the process is old enough."""
    never = next(iter(live.streams.values()))
    never.latest_us, never.state = None, StreamState.SUBSCRIBED
    assert first(take(live, 91)).age_s is None
    assert first(take(live, 91)).is_dead


def test_why_a_stream_is_down(live: LiveState, take: Callable[..., StatusDocument]) -> None:
    """A stream tells the reason of its connection, or its own refusal."""
    stream, name = next(iter(live.streams)), next(iter(live.connections))
    live.ended(name, 1, START_US, reason="tls_error", detail="expired")
    assert first(take(live, 1)).detail == "tls_error: expired"
    live.noted(stream, LedgerEvent.REJECTED, START_US, {"reason": "no such market"})
    assert first(take(live, 1)).detail == "no such market"


def test_storage(live: LiveState, take: Callable[..., StatusDocument]) -> None:
    """The writer and the uploader are heard where they speak; else the metrics."""
    assert take(live, 1).storage.spool_files == 1
    live.disk, live.delivery = Disk(), Delivery()
    storage = take(live, 60).storage
    assert (storage.journals, storage.journal_bytes, storage.waiting_seals) == (4, 5, 6)
    assert (storage.spool_files, storage.spool_bytes, storage.spool_age_s) == (7, 8, 60.0)
    assert storage.disk_total_bytes == 100


def test_verdict(live: LiveState, take: Callable[..., StatusDocument]) -> None:
    """A snapshot comes with its verdict."""
    live.disk = Disk()
    assert [reason.code for reason in take(live, 1).health.reasons] == ["disk_error"]


def test_histories(
    live: LiveState, take: Callable[..., StatusDocument], new_batch: Callable[..., Batch]
) -> None:
    """Histories are added on demand, whole or the latest samples alone."""
    history = History()
    stream = next(iter(live.streams))
    for rows in (1, 4):
        live.received(new_batch(stream, rows, START_US))
        history.sample(live.streams, 0, 2.0)
    snapshot = take(live, 1, history)
    assert first(snapshot).history == ()
    assert first(with_histories(snapshot, history)).history == (1.0, 2.0)
    assert first(with_histories(snapshot, history, 1)).history == (2.0,)
    assert with_histories(snapshot, history).history == (1.5, 2.0)
    assert first(with_histories(snapshot, History())).history == ()


def test_gauges_can_be_read() -> None:
    """Every metric that is shown is there."""
    assert min(read_totals()) >= 0


def test_disk_of_a_folder_that_is_not_there_yet(storage: StorageSection) -> None:
    """The size is that of the filesystem that the folder will be on."""
    size = measure_disk(storage.data_dir)
    assert size is not None
    assert size > 0
