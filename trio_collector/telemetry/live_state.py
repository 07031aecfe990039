"""What the collector is doing right now: the one place where the stages put it and from which the
endpoint reads it.

Feeds report connections and streams here, with one cheap call for each batch; writer and uploader
keep `disk` and `delivery` up to date themselves. Everything is plain fields that are changed in
place. Counts never go down, so that readers may sample them at any rate. Times are microseconds
since the Unix epoch.

The end of a session concerns all streams of its connection. It is ignored where a newer session
has begun, and by streams that another connection carries as well.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from trio_collector.events import Batch, Stream
from trio_collector.ledger import LedgerEvent
from trio_collector.telemetry.recent_events import RecentEvents, render_ledger_event
from trio_collector.telemetry.storage_state import DeliveryState, DiskState
from trio_collector.telemetry.stream_state import LiveStream


class LiveConnection(msgspec.Struct, eq=False):
    """One connection."""

    streams: tuple[Stream, ...]
    data_timeout_s: float  # a stream that no session carries is dead after that
    is_up: bool = False
    session: int = 0  # the number of the latest one
    since_us: int = 0  # when it went up or down
    reason: str = ""  # why the last session ended
    detail: str = ""


class PlannedConnection(Protocol):
    """A connection before its first session."""

    @property
    def names(self) -> Iterable[str]: ...
    @property
    def streams(self) -> Iterable[Stream]: ...
    @property
    def data_timeout_s(self) -> float: ...


class LiveState:
    """The live state of the whole collector."""

    def __init__(self) -> None:
        self.started_us = 0
        self.url: str | None = None  # of the status page
        self.is_draining = False
        self.streams: dict[Stream, LiveStream] = {}
        self.connections: dict[str, LiveConnection] = {}
        self.other_rows = 0  # rows of streams that are not subscribed to: unparsed ones
        self.disk = DiskState()
        self.delivery = DeliveryState()
        self.recent_events = RecentEvents()
        self._carriers: dict[Stream, list[LiveConnection]] = {}

    def start(self, connections: Iterable[PlannedConnection], at_us: int) -> None:
        """Add the planned connections and their streams."""
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
        """Count rows that are on their way to the writer."""
        stream = self.streams.get(batch.stream)
        if stream is None:
            self.other_rows += batch.rows
        else:
            stream.received(batch)

    def connected(self, connection: str, session: int, at_us: int) -> None:
        """A session is open."""
        live = self.connections.get(connection)
        if live is None:
            return
        live.is_up, live.session, live.since_us = True, session, at_us
        if live.reason:
            self.recent_events.add(connection, "connected", at_us, f"session {session}")
        live.reason = live.detail = ""

    def noted(
        self, stream: Stream, event: LedgerEvent, at_us: int, fields: Mapping[str, object]
    ) -> None:
        """A session has written a ledger row."""
        live = self.streams.get(stream)
        if live is None:
            return
        live.noted(event, at_us, fields)
        text = render_ledger_event(event, fields)
        if text is not None:
            self.recent_events.add(" ".join(stream), event, at_us, text)

    def ended(self, connection: str, session: int, at_us: int, *, reason: str, detail: str) -> None:
        """A session is over, or could not be opened."""
        live = self.connections.get(connection)
        if live is None or session < live.session:
            return
        live.is_up, live.session, live.since_us = False, session, at_us
        live.reason, live.detail = reason, detail
        is_stop = reason == "stopped"
        for stream in live.streams:
            if not any(each.is_up for each in self._carriers[stream]):
                self.streams[stream].session_ended(is_stop=is_stop)
        if not is_stop:
            text = f"{reason}: {detail}".rstrip(": ")
            self.recent_events.add(connection, "disconnected", at_us, text)
