"""Which books of a session need to be begun afresh, and when that may be asked for.

A book with a hole is worth nothing until then. It alone is asked for again, by a new subscription
or, where the exchange has the whole book there, by HTTP.
"""

import math

from trio_collector.events import DataType, Topic
from trio_collector.feed.books.snapshots import BookSnapshots
from trio_collector.feed.planning.connections import ConnectionPlan

# A whole book comes within a second or two of being asked for, and a request counts on every venue.
RESYNC_S = 10.0


class BookResync:
    """The books that need a base; `now` is monotonic, in seconds."""

    def __init__(self, connection: ConnectionPlan, snapshots: BookSnapshots) -> None:
        self._connection = connection
        self._snapshots = snapshots
        self._due: dict[Topic, float] = {}  # books without a base; when one may be asked for

    def begin(self, topic: Topic, now: float) -> None:
        """Note the first data of `topic`: a book whose base does not come by itself needs one."""
        if self.is_fetched(topic) and not self._snapshots.has(topic):
            self.need(topic, now)

    def need(self, topic: Topic, now: float) -> None:
        """Note that the whole book of `topic` is needed."""
        self._due.setdefault(topic, now)

    def lose(self, topic: Topic, now: float) -> None:
        """Note a hole in `topic`, which concerns books that are sent as changes."""
        if topic.data_type is DataType.ORDERBOOK and self._connection.adapter.has_incremental_books:
            self._snapshots.lose(topic)
            self.need(topic, now)

    def note(self, topic: Topic, at_us: int) -> None:
        """Note that the whole book of `topic` came at `at_us`, by our clock."""
        self._snapshots.note(topic, at_us)
        self._due.pop(topic, None)

    def take_fetches(self, now: float) -> list[Topic]:
        """Return the books to be fetched by HTTP now; whoever does that tries until it has them."""
        return self._take(now, math.inf, is_fetched=True) if self._due else []

    def take_requests(self, now: float) -> list[Topic]:
        """Return the books to be subscribed afresh now; again in a while, if that brings nothing."""
        return self._take(now, now + RESYNC_S, is_fetched=False) if self._due else []

    def _take(self, now: float, again_at: float, *, is_fetched: bool) -> list[Topic]:
        taken = [
            topic
            for topic, due in self._due.items()
            if due <= now and self.is_fetched(topic) is is_fetched
        ]
        self._due.update(dict.fromkeys(taken, again_at))
        return taken

    def is_fetched(self, topic: Topic) -> bool:
        """Return whether the whole book of `topic` comes by HTTP."""
        if topic.data_type is not DataType.ORDERBOOK:
            return False
        subscription = self._connection.topics.get(topic)
        if subscription is None:  # the exchange sends what nobody has asked for
            return False
        return self._connection.adapter.snapshot_request(subscription.symbol) is not None
