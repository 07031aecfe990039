"""A status document shows the live state, the byte budget and the histories, in its own units."""

from collections.abc import Callable

import pytest

from trio_collector.budget import ByteBudget
from trio_collector.config.settings import StorageSection
from trio_collector.endpoint.history import History
from trio_collector.endpoint.status_builder import Sources, build_status, with_histories
from trio_collector.events import Batch
from trio_collector.ledger import LedgerEvent
from trio_collector.telemetry.live_state import LiveState
from trio_collector.telemetry.status_document import (
    RecentEventStatus,
    StatusDocument,
    StorageStatus,
    StreamStatus,
)
from trio_collector.telemetry.storage_state import DeliveryState, DiskState
from trio_collector.telemetry.stream_state import StreamState

START_US = 1_700_000_000_000_000
S = 1_000_000


@pytest.fixture
def budget() -> ByteBudget:
    return ByteBudget(1 << 20)


@pytest.fixture
def take(storage: StorageSection, budget: ByteBudget) -> Callable[..., StatusDocument]:
    """Build the status document of some seconds after the start."""

    def at(live: LiveState, after_s: float, history: History | None = None) -> StatusDocument:
        sources = Sources(live, history or History(), budget, storage, "tokyo-1")
        return build_status(sources, START_US + int(after_s * S), 100)

    return at


def first(document: StatusDocument) -> StreamStatus:
    return document.streams[0]


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
    """A stream shows the reason of its connection, or its own refusal."""
    stream, name = next(iter(live.streams)), next(iter(live.connections))
    live.ended(name, 1, START_US, reason="tls_error", detail="expired")
    assert first(take(live, 1)).detail == "tls_error: expired"
    live.noted(stream, LedgerEvent.REJECTED, START_US, {"reason": "no such market"})
    assert first(take(live, 1)).detail == "no such market"


async def test_storage(
    live: LiveState,
    storage: StorageSection,
    budget: ByteBudget,
    take: Callable[..., StatusDocument],
) -> None:
    """Storage is shown as the writer, the uploader and the byte budget have it."""
    await budget.acquire(1)
    live.disk = DiskState(
        is_low=True,
        failing_streams=2,
        last_error="no space",
        free_bytes=3,
        rows_buffered=4,
        rows_dropped=5,
        open_journals=6,
        journal_bytes=7,
        journal_rows=8,
        waiting_seals=9,
        files_sealed=10,
        rows_sealed=11,
    )
    live.delivery = DeliveryState(
        waiting_files=12,
        waiting_bytes=13,
        oldest_s=START_US / S,
        last_error="503",
        refusal="403",
        is_store_down=True,
        uploads=14,
        upload_failures=15,
        uploaded_bytes=16,
    )
    shown = take(live, 60)
    assert shown.messages_dropped == 5
    assert shown.storage == StorageStatus(
        mode="local",
        inflight_bytes=1,
        max_inflight_bytes=storage.max_inflight_bytes,
        rows_buffered=4,
        journals=6,
        journal_bytes=7,
        journal_rows=8,
        waiting_seals=9,
        files_sealed=10,
        rows_sealed=11,
        is_disk_low=True,
        failing_streams=2,
        disk_error="no space",
        disk_free_bytes=3,
        disk_total_bytes=100,
        min_free_bytes=storage.min_free_bytes,
        spool_files=12,
        spool_bytes=13,
        spool_age_s=60.0,
        uploads=14,
        upload_failures=15,
        uploaded_bytes=16,
        delivery_error="503",
        delivery_refusal="403",
        is_store_down=True,
    )


def test_a_disk_that_was_not_measured(live: LiveState, take: Callable[..., StatusDocument]) -> None:
    """Until the writer has measured its disk, how much is free is not known."""
    assert take(live, 1).storage.disk_free_bytes is None


def test_recent_events(live: LiveState, take: Callable[..., StatusDocument]) -> None:
    """Recent events are shown as they are, the latest first."""
    live.recent_events.add("a", "gap", START_US, "one")
    live.recent_events.add("b", "stale", START_US + 1, "two")
    live.recent_events.add("a", "gap", START_US + 2, "three")
    assert take(live, 1).happenings == (
        RecentEventStatus("a", "gap", "three", START_US, START_US + 2, 2),
        RecentEventStatus("b", "stale", "two", START_US + 1, START_US + 1, 1),
    )


def test_verdict(live: LiveState, take: Callable[..., StatusDocument]) -> None:
    """A status document comes with its verdict."""
    live.disk.failing_streams = 2
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
    document = take(live, 1, history)
    assert first(document).history == ()
    assert first(with_histories(document, history)).history == (1.0, 2.0)
    assert first(with_histories(document, history, 1)).history == (2.0,)
    assert with_histories(document, history).history == (1.5, 2.0)
    assert first(with_histories(document, History())).history == ()
