"""What the collector is doing right now: the live state of its connections and streams.

Plain fields that are changed in place. Feeds tell it what happens, with one cheap call for each
batch; whoever shows it only reads. Counts never go down, so that readers may sample them at any
rate. Times are microseconds since the Unix epoch.

A stream is in one state, and the ledger's words lead from one to the next:

    waiting ──subscribed──▶ subscribed ──data──▶ live ──stale──▶ stale ──data──▶ live
    any ──rejected──▶ refused      any ──end of its session──▶ down, or stopped

An end concerns all streams of a connection. It is ignored where a newer session has begun, and by
streams that another connection carries as well.
"""

import enum
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import msgspec

from trio_collector.events import Batch, Stream
from trio_collector.ledger import LedgerEvent

# What the list of happenings holds at most; the oldest leave first.
MAX_RECENT_EVENTS = 200


class StreamState(enum.StrEnum):
    """How a stream is."""

    WAITING = "waiting"  # no session has asked for it yet
    SUBSCRIBED = "subscribed"  # granted; no data yet in this session
    LIVE = "live"
    STALE = "stale"  # the session is open, and there was no data for longer than allowed
    REFUSED = "refused"  # the exchange refused the subscription
    DOWN = "down"  # its session has ended, another one follows
    STOPPED = "stopped"  # the collector was asked to stop


class LiveStream(msgspec.Struct, eq=False):
    """What is known of one stream."""

    connection: str
    state: StreamState = StreamState.WAITING
    was_subscribed: bool = False
    rows: int = 0
    latest_us: int | None = None  # arrival of the latest row
    lag_us: int = 0  # from the exchange's clock to ours, summed over `lag_batches` batches
    lag_batches: int = 0
    gaps: int = 0
    latest_gap_us: int | None = None
    refusal: str = ""  # why the exchange refused it


class LiveConnection(msgspec.Struct, eq=False):
    """What is known of one connection."""

    streams: tuple[Stream, ...]
    data_timeout_s: float  # a stream that nobody carries is dead after that
    is_up: bool = False
    session: int = 0  # the number of the latest one
    since_us: int = 0  # when it went up or down
    reason: str = ""  # why the last session ended
    detail: str = ""


class RecentEvent(msgspec.Struct, eq=False):
    """Something that happened to `subject`, `times` times since `first_us`."""

    subject: str
    event: str
    text: str
    first_us: int
    latest_us: int
    times: int = 1


class PlannedConnection(Protocol):
    """A connection before it is one."""

    @property
    def names(self) -> Iterable[str]: ...
    @property
    def streams(self) -> Iterable[Stream]: ...
    @property
    def data_timeout_s(self) -> float: ...


class WriterStatus(Protocol):
    """How the writer gets on with its disk; the writer keeps it."""

    @property
    def is_low(self) -> bool: ...
    @property
    def failing_streams(self) -> int: ...
    @property
    def last_error(self) -> str | None: ...
    @property
    def open_journals(self) -> int: ...
    @property
    def journal_bytes(self) -> int: ...
    @property
    def waiting_seals(self) -> int: ...


class DeliveryStatus(Protocol):
    """How delivery gets on; the uploader keeps it."""

    @property
    def waiting_files(self) -> int: ...
    @property
    def waiting_bytes(self) -> int: ...
    @property
    def last_error(self) -> str | None: ...
    @property
    def refusal(self) -> str | None: ...
    @property
    def is_store_down(self) -> bool: ...
    def backlog_age_s(self, now_s: float) -> float: ...


class LiveState:
    """The live state of the collector."""

    def __init__(self) -> None:
        self.started_us = 0
        self.url: str | None = None  # of the status page
        self.is_draining = False
        self.streams: dict[Stream, LiveStream] = {}
        self.connections: dict[str, LiveConnection] = {}
        self.other_rows = 0  # rows of no stream that is asked for: unparsed ones
        self.disk: WriterStatus | None = None
        self.delivery: DeliveryStatus | None = None
        self._carriers: dict[Stream, list[LiveConnection]] = {}
        self._happenings: OrderedDict[tuple[str, str], RecentEvent] = OrderedDict()

    def start(self, connections: Iterable[PlannedConnection], at_us: int) -> None:
        """Take note of the connections that there are going to be."""
        self.started_us = at_us
        for each in connections:
            for name in each.names:
                self._expect(name, each.streams, each.data_timeout_s)

    def _expect(self, connection: str, streams: Iterable[Stream], data_timeout_s: float) -> None:
        live = LiveConnection(tuple(streams), data_timeout_s, since_us=self.started_us)
        self.connections[connection] = live
        for stream in live.streams:
            self.streams.setdefault(stream, LiveStream(connection))
            self._carriers.setdefault(stream, []).append(live)

    def received(self, batch: Batch) -> None:
        """Take note of rows that are on their way to the writer."""
        stream = self.streams.get(batch.stream)
        if stream is None:
            self.other_rows += batch.rows
            return
        stream.rows += len(batch.frames)
        stream.latest_us = batch.received_us
        stream.state = StreamState.LIVE
        sent_us = batch.exchange_us[-1]
        if sent_us is not None:
            stream.lag_us += batch.received_us - sent_us
            stream.lag_batches += 1

    def connected(self, connection: str, session: int, at_us: int) -> None:
        """Take note that a session is open."""
        live = self.connections.get(connection)
        if live is None:
            return
        live.is_up, live.session, live.since_us = True, session, at_us
        if live.reason:
            self.happened(connection, "connected", at_us, f"session {session}")
        live.reason = live.detail = ""

    def noted(
        self, stream: Stream, event: LedgerEvent, at_us: int, fields: Mapping[str, object]
    ) -> None:
        """Take note of a ledger row of a session."""
        live = self.streams.get(stream)
        if live is None:
            return
        if event is LedgerEvent.SUBSCRIBED:
            live.was_subscribed = True
            live.refusal = ""
        if event is LedgerEvent.GAP:
            live.gaps += 1
            live.latest_gap_us = at_us
        if event is LedgerEvent.REJECTED:
            live.refusal = str(fields.get("reason", ""))
        if event in _LEADS_TO and not (event is LedgerEvent.SUBSCRIBED and _has_data(live)):
            live.state = _LEADS_TO[event]
        if event in _TOLD:
            self.happened(" ".join(stream), event, at_us, _words(event, fields))

    def ended(self, connection: str, session: int, at_us: int, *, reason: str, detail: str) -> None:
        """Take note that a session is over, also of one that was never open."""
        live = self.connections.get(connection)
        if live is None or session < live.session:
            return
        live.is_up, live.session, live.since_us = False, session, at_us
        live.reason, live.detail = reason, detail
        is_stop = reason == "stopped"
        for name in live.streams:
            stream = self.streams[name]
            is_carried = any(each.is_up for each in self._carriers[name])
            if stream.state is not StreamState.REFUSED and not is_carried:
                stream.state = StreamState.STOPPED if is_stop else StreamState.DOWN
        if not is_stop:
            self.happened(connection, "disconnected", at_us, f"{reason}: {detail}".rstrip(": "))

    def happened(self, subject: str, event: str, at_us: int, text: str) -> None:
        """Put something on the list; what happens to a subject again and again is one line."""
        happening = self._happenings.get((subject, event))
        if happening is None:
            happening = RecentEvent(subject, event, text, at_us, at_us)
            self._happenings[subject, event] = happening
        else:
            happening.text, happening.latest_us = text, at_us
            happening.times += 1
            self._happenings.move_to_end((subject, event))
        while len(self._happenings) > MAX_RECENT_EVENTS:
            self._happenings.popitem(last=False)

    def happenings(self) -> Iterator[RecentEvent]:
        """Yield what is on the list, the latest first."""
        return reversed(self._happenings.values())


_LEADS_TO = {
    LedgerEvent.SUBSCRIBED: StreamState.SUBSCRIBED,
    LedgerEvent.LIVE: StreamState.LIVE,
    LedgerEvent.STALE: StreamState.STALE,
    LedgerEvent.REJECTED: StreamState.REFUSED,
}
# What a person would want to hear of, and in which words. An end is told once for its connection,
# see `ended`.
_TOLD = {
    LedgerEvent.GAP: "expected {expected}, got {got}",
    LedgerEvent.DUPLICATE: "latest {latest}, got {got}",
    LedgerEvent.STALE: "no data for {limit_s:g} s",
    LedgerEvent.BREAKER: "most frames could not be read",
    LedgerEvent.REJECTED: "{reason}",
}


def _has_data(live: LiveStream) -> bool:
    """Return whether data has come already: some exchanges acknowledge after it."""
    return live.state is StreamState.LIVE


def _words(event: LedgerEvent, fields: Mapping[str, object]) -> str:
    try:
        text = _TOLD[event].format_map(fields)
    except (KeyError, ValueError, TypeError):  # the ledger may say less, or more, one day
        return ", ".join(f"{name} {value}" for name, value in fields.items())
    missing = fields.get("missing")
    return text if missing is None else f"{text}, {missing} missing"
