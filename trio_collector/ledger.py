"""The ledger: what happened to a stream, as `status` rows beside its data.

A status row's `data` is JSON with `event`, the `data_type` it is about, and the event's own fields.
Times are microseconds since the Unix epoch, by our clock. From these rows alone a reader can tell
every covered interval of a stream: it is covered while a session of it is, from that one's `live`
to its `disconnected` or `stopped`, but for each `gap` and for what was `shed`. Rows of a session
carry its number and `run`, which names the process: one that crashed leaves no end behind, and what
it received is covered up to the last row that `recovered` tells of.
"""

import enum
from collections.abc import Mapping

import orjson

from trio_collector.events import Batch, DataType, Stream


class LedgerEvent(enum.StrEnum):
    """What can happen to a stream."""

    SUBSCRIBED = "subscribed"  # asked for, and granted where the exchange grants
    LIVE = "live"  # the first row of a session
    DISCONNECTED = "disconnected"  # reason, detail, code, latest_us
    GAP = "gap"  # previous, expected, got, missing
    DUPLICATE = "duplicate"
    STALE = "stale"  # no data for longer than allowed
    BREAKER = "breaker"  # too many unreadable frames
    REJECTED = "rejected"  # the exchange refused the subscription
    SHED = "shed"  # rows not kept: rows, from_us, to_us, reason
    HANDOVER = "handover"  # one session has taken over from another: from_session, from_us, to_us
    RECOVERED = "recovered"  # rows salvaged from a journal of an earlier process
    STOPPED = "stopped"  # the collector was asked to stop


def status_batch(
    stream: Stream,
    event: LedgerEvent,
    received_us: int,
    fields: Mapping[str, object] | None = None,
) -> Batch:
    """Return the row that says that `event` happened to `stream`."""
    entry = {"event": event, "data_type": stream.data_type, **(fields or {})}
    status = Batch(stream._replace(data_type=DataType.STATUS), received_us)
    status.append("", None, orjson.dumps(entry))
    return status
