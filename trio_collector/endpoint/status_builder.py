"""From vitals, histories and gauges to a snapshot: what is told of this moment."""

from typing import NamedTuple

import msgspec

from trio_collector import __version__
from trio_collector.config.settings import StorageSection
from trio_collector.endpoint.health import judge
from trio_collector.endpoint.history import History, Ring
from trio_collector.endpoint.totals import Totals
from trio_collector.events import DataType, Stream
from trio_collector.telemetry.live_state import LiveConnection, LiveState, LiveStream, StreamState
from trio_collector.telemetry.status_document import (
    SAMPLES,
    ConnectionStatus,
    RecentEventStatus,
    StatusDocument,
    StorageStatus,
    StreamStatus,
)

# A rate is the mean of this many samples, so that the eye can follow it.
RATE_SAMPLES = 5


class Deployment(NamedTuple):
    """What does not change while the collector runs."""

    storage: StorageSection
    server: str = ""


def build_status(
    live: LiveState,
    history: History,
    totals: Totals,
    place: Deployment,
    *,
    now_us: int,
    disk_total_bytes: int | None = None,
) -> StatusDocument:
    """Return the state of the collector at `now_us`, with its verdict, and without histories."""
    snapshot = StatusDocument(
        version=__version__,
        server=place.server,
        now_us=now_us,
        uptime_s=_age_s(live.started_us, now_us),
        is_draining=live.is_draining,
        connections=tuple(
            _connection(name, each, now_us) for name, each in live.connections.items()
        ),
        streams=tuple(
            _stream(name, each, live, history, now_us) for name, each in live.streams.items()
        ),
        storage=_storage(live, totals, place.storage, now_us, disk_total_bytes),
        rows_per_s=round(history.rates.recent(RATE_SAMPLES), 1),
        messages_dropped=totals.rows_dropped,
        dropped_recently=history.dropped_recently,
        unparsed_rows=live.other_rows,
        happenings=tuple(
            RecentEventStatus(
                each.subject, each.event, each.text, each.first_us, each.latest_us, each.times
            )
            for each in live.happenings()
        ),
    )
    return msgspec.structs.replace(snapshot, health=judge(snapshot))


def with_histories(
    snapshot: StatusDocument, history: History, samples: int = SAMPLES
) -> StatusDocument:
    """Return `snapshot` with the latest `samples` of everything."""
    streams = tuple(
        msgspec.structs.replace(each, history=_numbers(past.rates, samples))
        if (past := history.streams.get(_key(each)))
        else each
        for each in snapshot.streams
    )
    return msgspec.structs.replace(
        snapshot, streams=streams, history=_numbers(history.rates, samples)
    )


def _key(status: StreamStatus) -> Stream:
    return Stream(status.exchange, status.symbol, DataType(status.data_type))


def _numbers(ring: Ring, samples: int) -> tuple[float, ...]:
    return tuple(ring.latest(samples))


def _connection(name: str, live: LiveConnection, now_us: int) -> ConnectionStatus:
    return ConnectionStatus(
        name=name,
        is_up=live.is_up,
        sessions=live.session,
        since_s=_age_s(live.since_us, now_us),
        streams=len(live.streams),
        reason=live.reason,
        detail=live.detail,
    )


def _stream(
    name: Stream, each: LiveStream, live: LiveState, history: History, now_us: int
) -> StreamStatus:
    connection = live.connections[each.connection]
    past = history.streams.get(name)
    # What never had data is as old as the process.
    silence_s = _age_s(each.latest_us or live.started_us, now_us)
    return StreamStatus(
        exchange=name.exchange,
        symbol=name.symbol,
        data_type=name.data_type,
        connection=each.connection,
        state=each.state,
        was_subscribed=each.was_subscribed,
        is_dead=_is_dead(each.state, silence_s, connection.data_timeout_s),
        rows=each.rows,
        rows_per_s=round(past.rates.recent(RATE_SAMPLES), 1) if past else 0.0,
        age_s=None if each.latest_us is None else round(silence_s, 1),
        lag_ms=round(past.lag_ms, 1) if past and past.lag_ms is not None else None,
        gaps=each.gaps,
        latest_gap_age_s=_age_of(each.latest_gap_us, now_us),
        detail=_detail(each, connection),
    )


def _is_dead(state: StreamState, silence_s: float, limit_s: float) -> bool:
    """Return whether a stream has no data for too long.

    While a session carries it, that one knows what the stream is used to; else `limit_s` counts.
    """
    if state in (StreamState.LIVE, StreamState.STALE):
        return state is StreamState.STALE
    return state is not StreamState.STOPPED and silence_s > limit_s


def _detail(stream: LiveStream, connection: LiveConnection) -> str:
    """Return why a stream has no data, where that is known."""
    if stream.state is StreamState.REFUSED:
        return stream.refusal
    if stream.state in (StreamState.DOWN, StreamState.WAITING):
        return f"{connection.reason}: {connection.detail}".strip(": ")
    return ""


def _storage(
    live: LiveState,
    totals: Totals,
    storage: StorageSection,
    now_us: int,
    disk_total_bytes: int | None,
) -> StorageStatus:
    status = StorageStatus(
        mode=storage.mode,
        inflight_bytes=totals.inflight_bytes,
        max_inflight_bytes=storage.max_inflight_bytes,
        rows_buffered=totals.rows_buffered,
        journal_rows=totals.journal_rows,
        files_sealed=totals.files_sealed,
        rows_sealed=totals.rows_sealed,
        disk_free_bytes=totals.disk_free_bytes or None,
        disk_total_bytes=disk_total_bytes,
        min_free_bytes=storage.min_free_bytes,
        spool_files=totals.spool_files,
        spool_bytes=totals.spool_bytes,
        uploads=totals.uploads,
        upload_failures=totals.upload_failures,
        uploaded_bytes=totals.uploaded_bytes,
    )
    if disk := live.disk:
        status = msgspec.structs.replace(
            status,
            journals=disk.open_journals,
            journal_bytes=disk.journal_bytes,
            waiting_seals=disk.waiting_seals,
            is_disk_low=disk.is_low,
            failing_streams=disk.failing_streams,
            disk_error=disk.last_error,
        )
    if delivery := live.delivery:
        status = msgspec.structs.replace(
            status,
            spool_files=delivery.waiting_files,
            spool_bytes=delivery.waiting_bytes,
            spool_age_s=delivery.backlog_age_s(now_us / 1e6),
            delivery_error=delivery.last_error,
            delivery_refusal=delivery.refusal,
            is_store_down=delivery.is_store_down,
        )
    return status


def _age_s(since_us: int, now_us: int) -> float:
    """Return the seconds since; never less than 0, whatever is done to the clock."""
    return max(0.0, (now_us - since_us) / 1e6)


def _age_of(since_us: int | None, now_us: int) -> float | None:
    return None if since_us is None else _age_s(since_us, now_us)
