"""From the live state, the byte budget and the histories to the status document of a moment."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from trio_collector import __version__
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import StorageSection
from trio_collector.endpoint.health import assess_health
from trio_collector.endpoint.history import History, Ring
from trio_collector.events import DataType, Stream
from trio_collector.telemetry.live_state import LiveConnection, LiveState
from trio_collector.telemetry.status_document import (
    SAMPLES,
    ConnectionStatus,
    RecentEventStatus,
    StatusDocument,
    StorageStatus,
    StreamStatus,
)
from trio_collector.telemetry.stream_state import LiveStream, StreamState

# A rate is the mean of this many samples, so that the eye can follow it.
RATE_SAMPLES = 5


class Sources(NamedTuple):
    """What a status document is built from."""

    live: LiveState
    history: History
    budget: ByteBudget
    storage: StorageSection
    server: str = ""  # names this machine


def build_status(
    sources: Sources, now_us: int, disk_total_bytes: int | None = None
) -> StatusDocument:
    """Return the state of the collector at `now_us`, with its verdict, and without histories."""
    live, history = sources.live, sources.history
    document = StatusDocument(
        version=__version__,
        server=sources.server,
        now_us=now_us,
        uptime_s=_age_s(live.started_us, now_us),
        is_draining=live.is_draining,
        connections=tuple(
            _connection(name, each, now_us) for name, each in live.connections.items()
        ),
        streams=tuple(_stream(name, each, sources, now_us) for name, each in live.streams.items()),
        storage=_storage(sources, now_us, disk_total_bytes),
        rows_per_s=round(history.rates.recent(RATE_SAMPLES), 1),
        messages_dropped=live.disk.rows_dropped,
        dropped_recently=history.dropped_recently,
        unparsed_rows=live.other_rows,
        happenings=tuple(_recent_events(live)),
    )
    return msgspec.structs.replace(document, health=assess_health(document))


def with_histories(
    document: StatusDocument, history: History, samples: int = SAMPLES
) -> StatusDocument:
    """Return `document` with the latest `samples` of everything."""
    streams = tuple(
        msgspec.structs.replace(each, history=_numbers(past.rates, samples))
        if (past := history.streams.get(_key(each)))
        else each
        for each in document.streams
    )
    return msgspec.structs.replace(
        document, streams=streams, history=_numbers(history.rates, samples)
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


def _stream(name: Stream, live: LiveStream, sources: Sources, now_us: int) -> StreamStatus:
    connection = sources.live.connections[live.connection]
    past = sources.history.streams.get(name)
    # A stream that never had data is as old as the process.
    silence_s = _age_s(live.latest_us or sources.live.started_us, now_us)
    return StreamStatus(
        exchange=name.exchange,
        symbol=name.symbol,
        data_type=name.data_type,
        connection=live.connection,
        state=live.state,
        was_subscribed=live.was_subscribed,
        is_dead=_is_dead(live.state, silence_s, connection.data_timeout_s),
        rows=live.rows,
        rows_per_s=round(past.rates.recent(RATE_SAMPLES), 1) if past else 0.0,
        age_s=None if live.latest_us is None else round(silence_s, 1),
        lag_ms=round(past.lag_ms, 1) if past and past.lag_ms is not None else None,
        gaps=live.gaps,
        latest_gap_age_s=_age_of(live.latest_gap_us, now_us),
        detail=_detail(live, connection),
    )


def _is_dead(state: StreamState, silence_s: float, limit_s: float) -> bool:
    """Return whether a stream has had no data for too long.

    While a session carries the stream, the session decides, for it knows how often data comes;
    without a session `limit_s` does.
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


def _storage(sources: Sources, now_us: int, disk_total_bytes: int | None) -> StorageStatus:
    storage, disk, delivery = sources.storage, sources.live.disk, sources.live.delivery
    return StorageStatus(
        mode=storage.mode,
        inflight_bytes=sources.budget.used_bytes,
        max_inflight_bytes=storage.max_inflight_bytes,
        rows_buffered=disk.rows_buffered,
        journals=disk.open_journals,
        journal_bytes=disk.journal_bytes,
        journal_rows=disk.journal_rows,
        waiting_seals=disk.waiting_seals,
        files_sealed=disk.files_sealed,
        rows_sealed=disk.rows_sealed,
        is_disk_low=disk.is_low,
        failing_streams=disk.failing_streams,
        disk_error=disk.last_error,
        disk_free_bytes=disk.free_bytes or None,
        disk_total_bytes=disk_total_bytes,
        min_free_bytes=storage.min_free_bytes,
        spool_files=delivery.waiting_files,
        spool_bytes=delivery.waiting_bytes,
        spool_age_s=delivery.backlog_age_s(now_us / 1e6),
        uploads=delivery.uploads,
        upload_failures=delivery.upload_failures,
        uploaded_bytes=delivery.uploaded_bytes,
        delivery_error=delivery.last_error,
        delivery_refusal=delivery.refusal,
        is_store_down=delivery.is_store_down,
    )


def _recent_events(live: LiveState) -> Iterator[RecentEventStatus]:
    for each in live.recent_events:
        yield RecentEventStatus(**msgspec.structs.asdict(each))


def _age_s(since_us: int, now_us: int) -> float:
    """Return the seconds since `since_us`; never less than 0, even if the clock was set back."""
    return max(0.0, (now_us - since_us) / 1e6)


def _age_of(since_us: int | None, now_us: int) -> float | None:
    return None if since_us is None else _age_s(since_us, now_us)
