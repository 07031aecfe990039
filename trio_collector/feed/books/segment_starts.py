"""Who wants to know that a segment of a stream has begun: the writer tells, the feed listens."""

from collections.abc import Callable

from trio_collector.events import Stream


class SegmentStarts:
    """The listeners, at most one for each stream."""

    def __init__(self) -> None:
        self._listeners: dict[Stream, Callable[[int], None]] = {}

    def listen(self, stream: Stream, listener: Callable[[int], None]) -> None:
        """Let `listener` be told when the first row of each new segment of `stream` came.

        That is in microseconds since the Unix epoch.
        """
        self._listeners[stream] = listener

    def tell(self, stream: Stream, first_us: int) -> None:
        """A segment of `stream` has begun with a row that came at `first_us`."""
        listener = self._listeners.get(stream)
        if listener is not None:
            listener(first_us)
