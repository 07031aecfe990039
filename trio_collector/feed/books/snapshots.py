"""Which books a reader can build: a book of changes needs a *base*, a row that holds it whole.

A base serves until messages are missing: behind a gap, or where nobody was connected, another one
is needed. So is one in each file, for a file is to be read without the others.
"""

from trio_collector.events import Topic


class BookSnapshots:
    """The latest bases of one connection's books; times are our clock's, in microseconds."""

    def __init__(self) -> None:
        self._latest_us: dict[Topic, int] = {}

    def note(self, topic: Topic, at_us: int) -> None:
        """Note that a row which came at `at_us` holds the whole book of `topic`."""
        self._latest_us[topic] = at_us

    def lose(self, topic: Topic) -> None:
        """Note that messages of `topic` are missing."""
        self._latest_us.pop(topic, None)

    def lose_all(self) -> None:
        """Note that nobody is connected."""
        self._latest_us.clear()

    def has(self, topic: Topic, since_us: int = 0) -> bool:
        """Return whether there is a base of `topic` that came at `since_us` or later."""
        return topic in self._latest_us and self._latest_us[topic] >= since_us
