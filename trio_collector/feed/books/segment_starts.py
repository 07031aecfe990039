"""The starts of segments: the writer announces them, the feeds listen."""

from collections.abc import Callable

from trio_collector.events import Stream


class SegmentStarts:
    """The listeners, at most one for each stream."""

    def __init__(self) -> None:
        self._listeners: dict[Stream, Callable[[int], None]] = {}

    def listen(self, stream: Stream, listener: Callable[[int], None]) -> None:
        """Call `listener` for each new segment of `stream`, with the time of its first row.

        The time is in microseconds since the Unix epoch.
        """
        self._listeners[stream] = listener

    def tell(self, stream: Stream, first_us: int) -> None:
        """Announce a segment of `stream` whose first row came at `first_us`."""
        listener = self._listeners.get(stream)
        if listener is not None:
            listener(first_us)
