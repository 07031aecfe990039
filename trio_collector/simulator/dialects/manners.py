"""How well a connection behaves: what it refuses, keeps silent about, or does not answer.

At first everything is as the documents say. The names of bad manners are those of the faults.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from trio_collector.simulator.net.frames import StreamKey


class Streams(NamedTuple):
    """Streams that something is about; None stands for all."""

    symbol: str | None = None
    data_type: str | None = None

    def cover(self, stream: StreamKey) -> bool:
        """Return whether `stream` is one of them."""
        return self.symbol in (None, stream.symbol) and self.data_type in (None, stream.data_type)


class Rudeness(NamedTuple):
    """One bad manner: its name, what it is about, and how long an ack takes, if that is late."""

    name: str
    streams: Streams
    delay_ms: int


class Manners:
    """Bad manners of one connection, switched on and off while it lives."""

    def __init__(self) -> None:
        self._all: list[Rudeness] = []

    def spoil(self, name: str, streams: Streams, delay_ms: int) -> Callable[[], None]:
        """Add the bad manner `name`; return what takes it away again."""
        rudeness = Rudeness(name, streams, delay_ms)
        self._all.append(rudeness)
        return partial(self._all.remove, rudeness)

    def refuses(self, stream: StreamKey) -> bool:
        """Return whether a subscription to `stream` is refused."""
        return self._is_rude("ack_refused", stream)

    def grants_silence(self, stream: StreamKey) -> bool:
        """Return whether a subscription to `stream` is granted, and no data follows."""
        return self._is_rude("ack_silent", stream)

    @property
    def withholds_acks(self) -> bool:
        return self._is_rude("no_ack")

    @property
    def ignores_text_pings(self) -> bool:
        return self._is_rude("no_text_pong")

    @property
    def ignores_ping_frames(self) -> bool:
        return self._is_rude("no_frame_pong")

    @property
    def ack_delay_ms(self) -> int:
        """How late acks come."""
        return max((each.delay_ms for each in self._all if each.name == "late_ack"), default=0)

    def _is_rude(self, name: str, stream: StreamKey | None = None) -> bool:
        return any(
            each.name == name and (stream is None or each.streams.cover(stream))
            for each in self._all
        )
