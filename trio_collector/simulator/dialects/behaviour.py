"""How a connection deviates from the documents: refused, missing or late acks, unanswered pings.

At first it does not. The names of deviations are those of the faults.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from trio_collector.simulator.net.frames import StreamKey


class StreamFilter(NamedTuple):
    """Selects streams; None selects all."""

    symbol: str | None = None
    data_type: str | None = None

    def matches(self, stream: StreamKey) -> bool:
        """Return whether `stream` is selected."""
        return self.symbol in (None, stream.symbol) and self.data_type in (None, stream.data_type)


class Deviation(NamedTuple):
    """One deviation: its name, the streams it concerns, and the delay of an ack that is late."""

    name: str
    streams: StreamFilter
    delay_ms: int


class Behaviour:
    """The deviations of one connection, switched on and off while it lives."""

    def __init__(self) -> None:
        self._deviations: list[Deviation] = []

    def deviate(self, name: str, streams: StreamFilter, delay_ms: int) -> Callable[[], None]:
        """Add the deviation `name`; return what removes it again."""
        deviation = Deviation(name, streams, delay_ms)
        self._deviations.append(deviation)
        return partial(self._deviations.remove, deviation)

    def refuses(self, stream: StreamKey) -> bool:
        """Return whether a subscription to `stream` is refused."""
        return self._has("ack_refused", stream)

    def grants_silence(self, stream: StreamKey) -> bool:
        """Return whether a subscription to `stream` is granted, and no data follows."""
        return self._has("ack_silent", stream)

    @property
    def withholds_acks(self) -> bool:
        return self._has("no_ack")

    @property
    def ignores_text_pings(self) -> bool:
        return self._has("no_text_pong")

    @property
    def ignores_ping_frames(self) -> bool:
        return self._has("no_frame_pong")

    @property
    def ack_delay_ms(self) -> int:
        """How late acks come."""
        delays = (each.delay_ms for each in self._deviations if each.name == "late_ack")
        return max(delays, default=0)

    def _has(self, name: str, stream: StreamKey | None = None) -> bool:
        return any(
            each.name == name and (stream is None or each.streams.matches(stream))
            for each in self._deviations
        )
