"""What one session tells about its streams: to the ledger, the metrics and the log alike.

Ledger rows are kept here until `take` hands them to whoever sends rows to the writer, so that the
tasks which notice something never wait for room.
"""

from collections.abc import Callable, Iterable

import structlog

from trio_collector import metrics
from trio_collector.errors import SessionEnded
from trio_collector.events import Batch, Stream, Topic
from trio_collector.feed.continuity import Gap
from trio_collector.feed.ending import Ending
from trio_collector.feed.plan import Connection
from trio_collector.feed.reading import Finding
from trio_collector.ledger import LedgerEvent, status_batch


class SessionLog:
    """The ledger rows of one session, each with the connection's name and the session's number."""

    def __init__(self, connection: Connection, number: int, now_us: Callable[[], int]) -> None:
        self._connection = connection
        self._number = number
        self._now_us = now_us
        self._rows: list[Batch] = []
        self.log = structlog.get_logger(__name__).bind(connection=connection.name, session=number)

    def take(self) -> list[Batch]:
        """Return the rows noted since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def note(self, topics: Iterable[Topic], event: LedgerEvent, **fields: object) -> None:
        """Write `event` into the ledger of each of `topics`."""
        received_us = self._now_us()
        common = {"connection": self._connection.name, "session": self._number, **fields}
        for topic in topics:
            stream = Stream(self._connection.adapter.name, *topic)
            self._rows.append(status_batch(stream, event, received_us, common))

    def subscribed(self, topics: list[Topic]) -> None:
        """The exchange granted `topics`."""
        self.note(topics, LedgerEvent.SUBSCRIBED)

    def live(self, topic: Topic) -> None:
        """The first data of `topic` in this session has come."""
        self.note([topic], LedgerEvent.LIVE)
        self.log.info("stream live", symbol=topic.symbol, data_type=topic.data_type)

    def rejected(self, topics: list[Topic], reason: str) -> None:
        """The exchange refused `topics`."""
        self.note(topics, LedgerEvent.REJECTED, reason=reason)
        names = [f"{topic.symbol} {topic.data_type}" for topic in topics]
        self.log.error("subscription refused", topics=names, reason=reason)

    def stale(self, topics: list[Topic], limit_s: float) -> None:
        """`topics` had no data for `limit_s`."""
        self.note(topics, LedgerEvent.STALE, limit_s=limit_s)
        names = [f"{topic.symbol} {topic.data_type}" for topic in topics]
        self.log.warning("no data", topics=names, limit_s=limit_s)

    def found(self, finding: Finding, topics: Iterable[Topic]) -> None:
        """The ids show that messages of `topics` are missing, or came twice."""
        topics = list(topics)
        what = finding.finding
        if not isinstance(what, Gap):
            self.note(topics, LedgerEvent.DUPLICATE, known=what.known, got=what.got)
            return
        fields = {"expected": what.expected, "got": what.got, "missing": what.missing}
        self.note(topics, LedgerEvent.GAP, **fields)
        for topic in topics:
            metrics.gaps.labels(self._connection.adapter.name, *topic).inc()
        names = [f"{topic.symbol} {topic.data_type}" for topic in topics]
        self.log.error("messages missing", topics=names, **fields)

    def ended(self, ending: SessionEnded, topics: Iterable[Topic], *, rows: int) -> None:
        """The session is over for `topics`."""
        event = LedgerEvent.STOPPED if ending.reason == Ending.STOPPED else LedgerEvent.DISCONNECTED
        self.note(topics, event, reason=ending.reason, detail=ending.detail, code=ending.code)
        metrics.disconnects.labels(self._connection.adapter.name, ending.reason).inc()
        tell = self.log.info if ending.reason == Ending.STOPPED else self.log.warning
        tell("session ended", reason=ending.reason, detail=ending.detail, rows=rows)
