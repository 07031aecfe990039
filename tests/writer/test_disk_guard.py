"""What is kept while the disk is low, and what is said about the rest."""

from collections.abc import Callable

import orjson
import pytest
import structlog

from trio_collector.events import Batch, DataType, Stream
from trio_collector.telemetry import metrics
from trio_collector.telemetry.storage_state import DiskState
from trio_collector.writer.disk_guard import DiskGuard

TRADES = Stream("binance", "btcusdt", DataType.TRADE)
STATUS = TRADES._replace(data_type=DataType.STATUS)

MakeBatch = Callable[..., Batch]


@pytest.fixture
def state() -> DiskState:
    return DiskState()


@pytest.fixture
def guard(state: DiskState) -> DiskGuard:
    return DiskGuard(1000, state)


def test_sheds_below_the_limit_and_resumes_above(guard: DiskGuard, state: DiskState) -> None:
    """Shedding starts below the limit and stops a little above it."""
    seen = []
    for free_bytes in (1000, 999, 1000, 1049, 1050, 1001, 999):
        guard.note_free(free_bytes)
        seen.append(state.is_shedding)
    assert seen == [False, True, True, True, False, False, True]


def test_a_change_is_logged_once(guard: DiskGuard) -> None:
    """The log says when shedding starts and stops, and the gauge always has what is free."""
    with structlog.testing.capture_logs() as entries:
        for free_bytes in (2000, 999, 998, 2000, 2001):
            guard.note_free(free_bytes)
            assert metrics.total(metrics.disk_free_bytes) == free_bytes
    assert [(entry["event"], entry["free_bytes"]) for entry in entries] == [
        ("disk is low, new rows are shed", 999),
        ("disk has room again", 2000),
    ]


def test_a_state_starts_well(state: DiskState) -> None:
    """A writer that has just started has no error, nothing open and nothing to seal."""
    assert state == DiskState(False, 0, None, 0, 0, 0)
    assert not state.is_shedding
    assert DiskState(failing_streams=1).is_shedding


def test_the_ledger_is_kept(guard: DiskGuard, make_batch: MakeBatch) -> None:
    """Status rows are kept whatever the disk is like; data is not."""
    guard.note_free(0)
    assert guard.keeps(make_batch(stream=STATUS), is_failing=True)
    assert not guard.keeps(make_batch(), is_failing=False)
    guard.note_free(2000)
    assert guard.keeps(make_batch(), is_failing=False)
    assert not guard.keeps(make_batch(), is_failing=True)


def test_the_state_has_what_is_free_and_what_was_dropped(
    guard: DiskGuard, state: DiskState, make_batch: MakeBatch
) -> None:
    """The status document shows both, beside the metrics."""
    guard.note_free(1234)
    assert (state.free_bytes, state.rows_dropped) == (1234, 0)
    guard.shed(make_batch(4))
    guard.shed(make_batch(3))
    assert state.rows_dropped == 7


def test_what_was_shed_is_told_exactly(guard: DiskGuard, make_batch: MakeBatch) -> None:
    """One row per stream tells how many rows are missing, from when to when, and holds no budget."""
    before = metrics.total(metrics.messages_dropped.labels("disk"))
    guard.note_free(0)
    for received_us in (100, 200, 300):
        guard.shed(make_batch(4, received_us=received_us))
    assert guard.take_ledger(400) == []  # not while it lasts
    guard.note_free(2000)
    (row,) = guard.take_ledger(400)
    assert (row.stream, row.received_us, row.size_bytes) == (STATUS, 400, 0)
    assert orjson.loads(row.frames[0]) == {
        "event": "shed",
        "data_type": "trade",
        "rows": 12,
        "from_us": 100,
        "to_us": 300,
        "reason": "disk",
    }
    assert guard.take_ledger(500) == []
    assert metrics.total(metrics.messages_dropped.labels("disk")) == before + 12


def test_a_stream_that_still_fails_is_told_later(guard: DiskGuard, make_batch: MakeBatch) -> None:
    """Streams are told of as each is kept again; at the end, all are."""
    guard.shed(make_batch(1))
    assert guard.take_ledger(1, failing={TRADES}) == []
    assert len(guard.take_whole_ledger(2)) == 1
