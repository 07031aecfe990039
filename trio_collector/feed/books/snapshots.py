"""Which books a reader can rebuild: one sent as changes needs a *snapshot*, a row that holds it whole.

A snapshot is valid until messages are missing: another one is needed after a gap, and after a time
without a connection. Each file needs its own, because a file is read without the others.
"""

from trio_collector.events import Topic


class BookSnapshots:
    """The latest snapshots of one connection's books; times are our clock's, in microseconds."""

    def __init__(self) -> None:
        self._latest_us: dict[Topic, int] = {}

    def record(self, topic: Topic, at_us: int) -> None:
        """Record that a row which came at `at_us` holds the whole book of `topic`."""
        self._latest_us[topic] = at_us

    def discard(self, topic: Topic) -> None:
        """Forget the snapshot of `topic`: messages are missing since."""
        self._latest_us.pop(topic, None)

    def discard_all(self) -> None:
        """Forget all snapshots: no session is connected."""
        self._latest_us.clear()

    def has(self, topic: Topic, since_us: int = 0) -> bool:
        """Return whether there is a snapshot of `topic` that came at `since_us` or later."""
        return topic in self._latest_us and self._latest_us[topic] >= since_us
