"""Which books of a session need a snapshot, and when it may be requested.

A book with a gap is worthless until its next snapshot. Only that book is requested again: by a new
subscription or, where the exchange serves whole books there, by HTTP.
"""

import math

from trio_collector.events import DataType, Topic
from trio_collector.feed.books.snapshots import BookSnapshots
from trio_collector.feed.planning.connections import ConnectionPlan

# A snapshot arrives within a second or two of its request, and every exchange counts requests.
RESYNC_S = 10.0


class BookResync:
    """The books that need a snapshot; `now` is a listening time, in seconds."""

    def __init__(self, connection: ConnectionPlan, snapshots: BookSnapshots) -> None:
        self._connection = connection
        self._snapshots = snapshots
        self._due: dict[Topic, float] = {}  # when a snapshot may be requested

    def record_first_data(self, topic: Topic, now: float) -> None:
        """Record the first data of `topic`: a book that does not open with a snapshot needs one."""
        if self.is_fetched(topic) and not self._snapshots.has(topic):
            self.require(topic, now)

    def require(self, topic: Topic, now: float) -> None:
        """Request a snapshot of `topic` as soon as possible, unless one is requested already."""
        self._due.setdefault(topic, now)

    def record_gap(self, topic: Topic, now: float) -> None:
        """Record a gap in `topic`; it matters for books that are sent as changes."""
        if topic.data_type is DataType.ORDERBOOK and self._connection.adapter.has_incremental_books:
            self._snapshots.discard(topic)
            self.require(topic, now)

    def record_snapshot(self, topic: Topic, at_us: int) -> None:
        """Record that a snapshot of `topic` came at `at_us`, by our clock."""
        self._snapshots.record(topic, at_us)
        self._due.pop(topic, None)

    def start_fetches(self, now: float) -> list[Topic]:
        """Return the books to fetch by HTTP now; a fetch is retried until it succeeds."""
        return self._start(now, math.inf, is_fetched=True) if self._due else []

    def start_requests(self, now: float) -> list[Topic]:
        """Return the books to subscribe again now; each is due again after RESYNC_S."""
        return self._start(now, now + RESYNC_S, is_fetched=False) if self._due else []

    def _start(self, now: float, again_at: float, *, is_fetched: bool) -> list[Topic]:
        started = [
            topic
            for topic, due in self._due.items()
            if due <= now and self.is_fetched(topic) is is_fetched
        ]
        self._due.update(dict.fromkeys(started, again_at))
        return started

    def is_fetched(self, topic: Topic) -> bool:
        """Return whether the whole book of `topic` comes by HTTP."""
        if topic.data_type is not DataType.ORDERBOOK:
            return False
        subscription = self._connection.topics.get(topic)
        if subscription is None:  # the exchange sends what was not subscribed
            return False
        return self._connection.adapter.snapshot_request(subscription.symbol) is not None
