"""The health of the collector: a verdict on a status document, and on nothing else.

    code               status           not ready   means
    disk_low           unhealthy        yes         new rows are not kept
    disk_error         unhealthy        yes         rows of some streams cannot be written
    no_connection      unhealthy        yes         nothing is collected
    all_dead           unhealthy        yes         no stream has data
    not_subscribed     starting, then   yes         some streams were never asked for with success
                       degraded
    dead_stream        degraded         yes         a stream has no data for longer than allowed
    backlog            degraded         yes         sealed files wait for delivery, for long
    draining           degraded         yes         the collector stops
    store_refuses      degraded         no          a person has to change something at the store
    store_down         degraded         no          deliveries fail, and are tried again
    connections_down   degraded         no          some reconnect
    refused            degraded         no          the exchange refused a subscription
    dropped            degraded         no          rows were not kept in the last minutes
    gaps               degraded         no          messages were missing in the last minutes
    backpressure       degraded         no          the disk is slower than the exchanges

What makes a collector not ready passes by itself. A refused subscription does not, and would block
a rolling update for ever; it and past gaps are shown by the reasons and reported by the alerts.
"""

from collections.abc import Iterator
from typing import NamedTuple

from trio_collector.telemetry.status_document import (
    Health,
    Reason,
    Status,
    StatusDocument,
    StreamStatus,
)
from trio_collector.telemetry.stream_state import StreamState

# The slowest exchange grants connects one at a time: 100 markets are subscribed within a minute.
START_UP_S = 60.0
# Three times the longest pause between two attempts to deliver a file.
OLD_BACKLOG_S = 900.0
RECENT_S = 240.0  # as long as the histories
FULL_SHARE = 0.9  # of the byte budget
NAMED = 3  # streams and connections that a reason names, at most


class HealthFinding(NamedTuple):
    """One thing that is not as it should be; an obstacle keeps the collector from being ready."""

    status: Status
    is_obstacle: bool
    reason: Reason


def assess_health(document: StatusDocument) -> Health:
    """Return the verdict on `document`, the most severe reason first."""
    findings = sorted(
        [*_disk(document), *_connections(document), *_streams(document), *_delivery(document)],
        key=lambda finding: -_SEVERITY.index(finding.status),
    )
    return Health(
        status=findings[0].status if findings else Status.HEALTHY,
        reasons=tuple(finding.reason for finding in findings),
        obstacles=tuple(finding.reason for finding in findings if finding.is_obstacle),
    )


_SEVERITY = list(Status)


def _finding(status: Status, code: str, text: str, *, is_obstacle: bool = False) -> HealthFinding:
    return HealthFinding(status, is_obstacle, Reason(code, text))


def _disk(document: StatusDocument) -> Iterator[HealthFinding]:
    storage = document.storage
    if storage.is_disk_low:
        text = f"the disk has less than {storage.min_free_bytes:,} bytes left; new rows are shed"
        yield _finding(Status.UNHEALTHY, "disk_low", text, is_obstacle=True)
    if storage.failing_streams:
        text = f"rows of {storage.failing_streams} streams cannot be written: {storage.disk_error}"
        yield _finding(Status.UNHEALTHY, "disk_error", text, is_obstacle=True)
    if document.dropped_recently:
        text = f"{document.dropped_recently:,} rows were not kept in the last minutes"
        yield _finding(Status.DEGRADED, "dropped", text)
    if storage.inflight_bytes > FULL_SHARE * storage.max_inflight_bytes:
        text = f"{storage.inflight_bytes:,} bytes wait for the disk, and feeds for them"
        yield _finding(Status.DEGRADED, "backpressure", text)


def _connections(document: StatusDocument) -> Iterator[HealthFinding]:
    if document.is_draining:
        text = "the collector stops; what it has received is brought to disk"
        yield _finding(Status.DEGRADED, "draining", text, is_obstacle=True)
        return
    if document.uptime_s < START_UP_S:
        return
    down = [each for each in document.connections if not each.is_up]
    if down and len(down) == len(document.connections):
        text = f"none of {len(down)} connections is open"
        yield _finding(Status.UNHEALTHY, "no_connection", text, is_obstacle=True)
    elif down:
        names = [f"{each.name} ({each.reason or 'not yet open'})" for each in down]
        yield _finding(Status.DEGRADED, "connections_down", f"not open: {_some(names)}")


def _streams(document: StatusDocument) -> Iterator[HealthFinding]:
    refused = [each for each in document.streams if each.state == StreamState.REFUSED]
    if refused:
        text = f"refused by the exchange: {_names(refused)}"
        yield _finding(Status.DEGRADED, "refused", text)
    if not document.is_draining:
        yield from _silent_streams(document)
    gaps = [
        each
        for each in document.streams
        if each.latest_gap_age_s is not None and each.latest_gap_age_s < RECENT_S
    ]
    if gaps:
        yield _finding(Status.DEGRADED, "gaps", f"messages were missing: {_names(gaps)}")


def _silent_streams(document: StatusDocument) -> Iterator[HealthFinding]:
    wanted = [each for each in document.streams if each.state != StreamState.REFUSED]
    unasked = [each for each in wanted if not each.was_subscribed]
    if unasked:
        status = Status.STARTING if document.uptime_s < START_UP_S else Status.DEGRADED
        text = f"not yet subscribed: {_names(unasked)}"
        yield _finding(status, "not_subscribed", text, is_obstacle=True)
    dead = [each for each in wanted if each.is_dead]
    if dead and len(dead) == len(wanted):
        text = f"none of {len(dead)} streams has data"
        yield _finding(Status.UNHEALTHY, "all_dead", text, is_obstacle=True)
    elif dead:
        text = f"no data: {_names(dead)}"
        yield _finding(Status.DEGRADED, "dead_stream", text, is_obstacle=True)


def _delivery(document: StatusDocument) -> Iterator[HealthFinding]:
    storage = document.storage
    if storage.spool_age_s > OLD_BACKLOG_S:
        text = (
            f"{storage.spool_files} sealed files wait for delivery, the oldest one for"
            f" {storage.spool_age_s / 60:.0f} minutes"
        )
        yield _finding(Status.DEGRADED, "backlog", text, is_obstacle=True)
    if storage.delivery_refusal:
        text = f"the store refuses: {storage.delivery_refusal}"
        yield _finding(Status.DEGRADED, "store_refuses", text)
    elif storage.is_store_down:
        text = f"deliveries fail and are tried again: {storage.delivery_error}"
        yield _finding(Status.DEGRADED, "store_down", text)


def _names(streams: list[StreamStatus]) -> str:
    return _some([each.name for each in streams])


def _some(names: list[str]) -> str:
    """Return the first NAMED of `names`, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
