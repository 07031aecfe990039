"""What one session records about its streams: in the ledger, the metrics and the log alike.

Ledger rows are kept here until `flush` hands them to the sender. What is found in a read of the
socket carries the time of that read, as the rows of the read do; `at_us` is that time, and now
where it is left out.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import structlog
from prometheus_client import Counter, Gauge, Histogram

from trio_collector.errors import SessionEnded
from trio_collector.events import Batch, DataType, Stream, Topic
from trio_collector.feed import actions
from trio_collector.feed.actions import Record
from trio_collector.feed.continuity.sequence import Gap, SequenceFinding
from trio_collector.feed.drift import DriftWarning
from trio_collector.feed.health.staleness import StaleTopic
from trio_collector.feed.planning.connections import ConnectionPlan
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.ledger import LedgerEvent, status_batch
from trio_collector.telemetry import metrics
from trio_collector.telemetry.live_state import LiveState


class _Series(NamedTuple):
    """The metrics of one stream's rows; to look them up by label costs more than to count."""

    received: Counter
    latest: Gauge
    latency_ms: Histogram


class SessionLog:
    """The ledger rows of one session, each with the connection's name and the session's number."""

    def __init__(
        self,
        connection: ConnectionPlan,
        topics: Iterable[Topic],
        now_us: Callable[[], int],
        *,
        number: int,
        line: int = 0,
        run: int = 0,
        live: LiveState | None = None,
    ) -> None:
        name = connection.names[line]
        self.log = structlog.get_logger(__name__).bind(connection=name, session=number)
        self._exchange = connection.adapter.name
        self._markets = sorted({(self._exchange, topic.symbol) for topic in topics})
        self._common = {"run": run, "connection": name, "session": number}
        self._connection = name
        self._number = number
        self._live = live or LiveState()
        self._now_us = now_us
        self._status: list[Batch] = []
        self._series: dict[Stream, _Series] = {}
        self._rows = 0
        self._live_us: int | None = None  # first data
        self._gaps = 0
        self._with_gaps: set[Topic] = set()

    def flush(self) -> list[Batch]:
        """Return the ledger rows noted since the last call."""
        status, self._status = self._status, []
        return status

    def record(self, record: Record) -> None:
        """Tell what the monitor wants told."""
        _RECORDERS[type(record)](self, *record)

    @contextlib.contextmanager
    def connected(self, url: str) -> Iterator[None]:
        """The session is open, as long as the block runs."""
        self.log.info("connected", url=url)
        self._live.connected(self._connection, self._number, self._now_us())
        series = [metrics.websocket_connected.labels(*market) for market in self._markets]
        for each in series:
            each.inc()
        try:
            yield
        finally:
            for each in series:
                each.dec()

    def subscribed(self, topics: list[Topic], at_us: int | None = None) -> None:
        """The exchange granted `topics`, or was asked for them where it does not answer."""
        self._write(topics, LedgerEvent.SUBSCRIBED, at_us)

    def live(self, topic: Topic, at_us: int) -> None:
        """The first data of `topic` in this session has come."""
        self._live_us = at_us if self._live_us is None else self._live_us
        self._write([topic], LedgerEvent.LIVE, at_us)
        self.log.info("stream live", symbol=topic.symbol, data_type=topic.data_type)

    def rejected(self, topics: list[Topic], reason: str, at_us: int) -> None:
        """The exchange refused `topics`, or something else where that is empty."""
        if not topics:
            self.log.warning("exchange reports an error", reason=reason)
            return
        self._write(topics, LedgerEvent.REJECTED, at_us, reason=reason)
        self.log.error("subscription refused", topics=names_of(topics), reason=reason)

    def stale(self, stale: StaleTopic) -> None:
        """A topic had no data for longer than it may."""
        self._write([stale.topic], LedgerEvent.STALE, limit_s=stale.limit_s)
        phrase = "no data" if stale.has_begun else "subscribed, and no data ever came"
        self.log.warning(phrase, topics=names_of([stale.topic]), limit_s=round(stale.limit_s, 1))

    def found(self, finding: SequenceFinding, topics: list[Topic], at_us: int) -> None:
        """The ids show that messages of `topics` are missing, or came twice."""
        what = finding.finding
        if not isinstance(what, Gap):
            self._write(topics, LedgerEvent.DUPLICATE, at_us, latest=what.known, got=what.got)
            return
        fields = {"expected": what.expected, "got": what.got, "missing": what.missing}
        self._write(topics, LedgerEvent.GAP, at_us, **fields)
        self._gaps += 1
        for topic in topics:
            metrics.gaps.labels(self._exchange, *topic).inc()
        # The ledger has every gap; the log has the first of each topic, and their number at the end.
        if not self._with_gaps.issuperset(topics):
            self._with_gaps.update(topics)
            self.log.error("messages missing", topics=names_of(topics), **fields)

    def handed_over(self, topics: list[Topic], predecessor: int, *, until_us: int | None) -> None:
        """This session has taken over from another; both had data from the first of this to `until_us`."""
        fields = {"from_session": predecessor, "from_us": self._live_us, "to_us": until_us}
        self._write(topics, LedgerEvent.HANDOVER, **fields)
        self.log.info("session took over from another", **fields)

    def repeated(self, rows: int) -> None:
        """Another session had brought `rows` before; they are not kept once more."""
        if rows:
            metrics.messages_repeated.labels(self._exchange).inc(rows)

    def unreadable(self, frames: int) -> None:
        """No adapter could read `frames` of them, which are kept as `unparsed` rows."""
        metrics.unparsed.labels(self._exchange).inc(frames)

    def warn(self, warnings: Iterable[DriftWarning]) -> None:
        """The exchange sends what it did not send before."""
        for each in warnings:
            self.log.warning(each.phrase, **each.fields)

    def broken(self, topics: list[Topic], at_us: int) -> None:
        """The breaker has ended the session."""
        metrics.circuit_breaks.labels(self._exchange).inc()
        self._write(topics, LedgerEvent.BREAKER, at_us)

    def ping_sent(self) -> None:
        for market in self._markets:
            metrics.pings_sent.labels(*market).inc()

    def pong_received(self) -> None:
        for market in self._markets:
            metrics.pongs_received.labels(*market).inc()

    def timed_out(self) -> None:
        """Silence has ended the session."""
        for market in self._markets:
            metrics.message_timeouts.labels(*market).inc()

    def count_sent(self, batch: Batch) -> None:
        """The rows of `batch` are on their way to the writer; those of the ledger do not count."""
        if batch.stream.data_type is DataType.STATUS:
            return
        series = self._series.get(batch.stream) or self._open_series(batch.stream)
        series.received.inc(batch.rows)
        series.latest.set(batch.received_us / 1e6)
        sent_us = batch.exchange_us[-1]
        if sent_us is not None:
            series.latency_ms.observe((batch.received_us - sent_us) / 1e3)
        self._rows += batch.rows
        self._live.received(batch)

    def _open_series(self, stream: Stream) -> _Series:
        exchange, symbol, data_type = stream
        series = self._series[stream] = _Series(
            metrics.messages_received.labels(exchange, symbol, data_type),
            metrics.last_message.labels(exchange, symbol),
            metrics.latency_ms.labels(exchange),
        )
        return series

    def ended(
        self,
        ending: SessionEnded,
        topics: list[Topic],
        *,
        at_us: int | None,
        latest_us: int | None,
    ) -> None:
        """The session was over for `topics` at `at_us`, and its latest byte came at `latest_us`."""
        is_stop = ending.reason == EndReason.STOPPED
        event = LedgerEvent.STOPPED if is_stop else LedgerEvent.DISCONNECTED
        told = {"reason": ending.reason, "detail": ending.detail}
        self._write(topics, event, at_us, **told, code=ending.code, latest_us=latest_us)
        metrics.disconnects.labels(self._exchange, ending.reason).inc()
        ended_us = self._now_us() if at_us is None else at_us
        self._live.ended(self._connection, self._number, ended_us, **told)
        tell = self.log.info if is_stop else self.log.warning
        tell("session ended", **told, rows=self._rows, gaps=self._gaps)

    def _write(
        self,
        topics: Iterable[Topic],
        event: LedgerEvent,
        at_us: int | None = None,
        **fields: object,
    ) -> None:
        """Write `event` into the ledger of each of `topics`."""
        at_us = self._now_us() if at_us is None else at_us
        for topic in topics:
            stream = Stream(self._exchange, *topic)
            self._status.append(status_batch(stream, event, at_us, {**self._common, **fields}))
            self._live.noted(stream, event, at_us, fields)


_RECORDERS: dict[type[Record], Callable[..., None]] = {
    actions.Subscribed: SessionLog.subscribed,
    actions.Live: SessionLog.live,
    actions.Rejected: SessionLog.rejected,
    actions.Stale: SessionLog.stale,
    actions.Found: SessionLog.found,
    actions.Unreadable: SessionLog.unreadable,
    actions.Broken: SessionLog.broken,
    actions.TimedOut: SessionLog.timed_out,
    actions.PongReceived: SessionLog.pong_received,
}


def names_of(topics: Iterable[Topic]) -> list[str]:
    return [topic.name for topic in topics]
