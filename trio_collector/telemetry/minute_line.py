"""The summary that is logged each minute: rates, queues and gaps, read from the metrics.

It shows in the log alone that data flows, that nothing piles up, and whether something was missed.
Rates and counts are those of the minute, sizes those at its end.
"""

from collections import Counter
from collections.abc import Mapping

import msgspec
import structlog
import trio

from trio_collector.telemetry import metrics

log = structlog.get_logger(__name__)

MINUTE_S = 60.0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The values of the metrics at a moment; counters count from the start of the process."""

    at_s: float  # of any clock that never goes back
    rows: Mapping[str, int]  # received, by exchange
    gaps: int = 0
    disconnects: int = 0
    dropped: int = 0
    unparsed: int = 0
    sessions: int = 0
    queued_batches: int = 0
    inflight_bytes: int = 0
    spool_files: int = 0
    spool_bytes: int = 0
    disk_free_bytes: int = 0
    loop_stalls: int = 0


def read_metrics(now_s: float) -> Reading:
    """Return the values of the metrics, which are those of `now_s`."""
    rows: Counter[str] = Counter()
    for stream, number in metrics.received_rows().items():
        rows[stream.exchange] += number
    return Reading(
        at_s=now_s,
        rows=rows,
        gaps=int(metrics.total(metrics.gaps)),
        disconnects=int(metrics.total(metrics.disconnects)),
        dropped=int(metrics.total(metrics.messages_dropped)),
        unparsed=int(metrics.total(metrics.unparsed)),
        sessions=int(metrics.total(metrics.websocket_connected)),
        queued_batches=int(metrics.total(metrics.channel_queue_depth)),
        inflight_bytes=int(metrics.total(metrics.inflight_bytes)),
        spool_files=int(metrics.total(metrics.upload_queue_depth)),
        spool_bytes=int(metrics.total(metrics.spool_bytes)),
        disk_free_bytes=int(metrics.total(metrics.disk_free_bytes)),
        loop_stalls=int(metrics.total(metrics.loop_stalls)),
    )


def summary_line(previous: Reading, current: Reading) -> dict[str, object]:
    """Return the fields of the line: changes between two readings, and sizes at the second."""
    elapsed_s = max(current.at_s - previous.at_s, 1e-9)
    received = {name: rows - previous.rows.get(name, 0) for name, rows in current.rows.items()}
    return {
        "rows": sum(received.values()),
        "rows_per_s": round(sum(received.values()) / elapsed_s, 1),
        "by_exchange": {name: round(rows / elapsed_s, 1) for name, rows in received.items()},
        "sessions": current.sessions,
        "disconnects": current.disconnects - previous.disconnects,
        "gaps": current.gaps - previous.gaps,
        "dropped": current.dropped - previous.dropped,
        "unparsed": current.unparsed - previous.unparsed,
        "queued_batches": current.queued_batches,
        "inflight_bytes": current.inflight_bytes,
        "spool_files": current.spool_files,
        "spool_bytes": current.spool_bytes,
        "disk_free_bytes": current.disk_free_bytes,
        "loop_stalls": current.loop_stalls - previous.loop_stalls,
    }


async def run_minute_line() -> None:
    """Log the line every minute, until cancelled."""
    previous = read_metrics(trio.current_time())
    while True:
        await trio.sleep(MINUTE_S)
        current = read_metrics(trio.current_time())
        log.info("last minute", **summary_line(previous, current))
        previous = current
