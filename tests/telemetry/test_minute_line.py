"""The minute line: rates and gaps of the minute, sizes at its end."""

import msgspec
import trio
from structlog.testing import capture_logs

from trio_collector.events import DataType, Stream
from trio_collector.telemetry import metrics
from trio_collector.telemetry.minute_line import (
    Reading,
    read_metrics,
    run_minute_line,
    summary_line,
)

EARLIER = Reading(
    at_s=100.0,
    rows={"binance": 1000, "okx": 50},
    gaps=1,
    disconnects=2,
    dropped=3,
    unparsed=4,
    loop_stalls=5,
)


def test_summary_line() -> None:
    """Counts are differences, rates are per second, sizes are those of the end."""
    later = Reading(
        at_s=160.0,
        rows={"binance": 1600, "okx": 50, "upbit": 30},
        gaps=2,
        disconnects=4,
        dropped=6,
        unparsed=8,
        sessions=5,
        queued_batches=7,
        inflight_bytes=800,
        spool_files=9,
        spool_bytes=1000,
        disk_free_bytes=1100,
        loop_stalls=11,
    )
    assert summary_line(EARLIER, later) == {
        "rows": 630,
        "rows_per_s": 10.5,
        "by_exchange": {"binance": 10.0, "okx": 0.0, "upbit": 0.5},
        "sessions": 5,
        "disconnects": 2,
        "gaps": 1,
        "dropped": 3,
        "unparsed": 4,
        "queued_batches": 7,
        "inflight_bytes": 800,
        "spool_files": 9,
        "spool_bytes": 1000,
        "disk_free_bytes": 1100,
        "loop_stalls": 6,
    }


def test_no_time_has_passed() -> None:
    """Two readings at one moment are no reason to divide by zero."""
    assert summary_line(EARLIER, EARLIER)["rows_per_s"] == 0.0


def test_read_metrics() -> None:
    """Every field of a reading follows its metric."""
    before = read_metrics(0.0)
    stream = Stream("summed-up", "btcusdt", DataType.TRADE)
    metrics.messages_received.labels(*stream).inc(3)
    metrics.messages_received.labels(*stream._replace(symbol="ethusdt")).inc(4)
    metrics.gaps.labels(*stream).inc(2)
    metrics.disconnects.labels("summed-up", "breaker").inc(3)
    metrics.messages_dropped.labels("disk").inc(4)
    metrics.unparsed.labels("summed-up").inc(5)
    metrics.websocket_connected.labels("summed-up", "btcusdt").inc(6)
    metrics.channel_queue_depth.inc(7)
    metrics.inflight_bytes.inc(8)
    metrics.upload_queue_depth.inc(9)
    metrics.spool_bytes.inc(10)
    metrics.disk_free_bytes.inc(11)
    metrics.loop_stalls.inc(12)
    after = read_metrics(1.0)
    numbers = [name for name in Reading.__struct_fields__ if name not in ("at_s", "rows")]
    moved = [getattr(after, name) - getattr(before, name) for name in numbers]
    assert dict(zip(numbers, moved, strict=True)) == {
        "gaps": 2,
        "disconnects": 3,
        "dropped": 4,
        "unparsed": 5,
        "sessions": 6,
        "queued_batches": 7,
        "inflight_bytes": 8,
        "spool_files": 9,
        "spool_bytes": 10,
        "disk_free_bytes": 11,
        "loop_stalls": 12,
    }
    assert after.rows["summed-up"] == 7
    metrics.websocket_connected.remove("summed-up", "btcusdt")
    for gauge, size in (
        (metrics.channel_queue_depth, 7),
        (metrics.inflight_bytes, 8),
        (metrics.upload_queue_depth, 9),
        (metrics.spool_bytes, 10),
        (metrics.disk_free_bytes, 11),
    ):
        gauge.dec(size)


async def test_a_line_a_minute(autojump_clock: trio.testing.MockClock) -> None:
    """It is logged each minute, at INFO, and covers its own minute alone."""
    received = metrics.messages_received.labels("minute", "btcusdt", "trade")
    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_minute_line)
            await trio.sleep(30)
            received.inc(120)
            await trio.sleep(100)
            nursery.cancel_scope.cancel()
    assert [(each["event"], each["log_level"]) for each in events] == [("last minute", "info")] * 2
    assert [each["by_exchange"]["minute"] for each in events] == [2.0, 0.0]


def test_a_reading_is_a_value() -> None:
    """A reading is not changed by what happens after it."""
    assert msgspec.structs.asdict(EARLIER)["rows"] == {"binance": 1000, "okx": 50}
