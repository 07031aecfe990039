"""The last minutes of every stream: ring buffers of samples, in bounded memory.

A ring of 120 numbers takes 960 bytes; a thousand streams take one megabyte. Numbers are rounded once,
when they are added, so that showing them is copying.
"""

from array import array
from collections.abc import Mapping

from trio_collector.events import Stream
from trio_collector.telemetry.status_document import SAMPLES
from trio_collector.telemetry.stream_state import LiveStream


class Ring:
    """The latest `size` numbers."""

    def __init__(self, size: int = SAMPLES) -> None:
        self._numbers = array("d", bytes(8 * size))
        self._next = 0
        self._filled = 0

    def push(self, number: float) -> None:
        """Add a number; it replaces the oldest one if the ring is full."""
        self._numbers[self._next] = round(number, 1)
        self._next = (self._next + 1) % len(self._numbers)
        self._filled = min(self._filled + 1, len(self._numbers))

    def latest(self, count: int = SAMPLES) -> list[float]:
        """Return the last `count` numbers, or as many as there are; the latest one last."""
        count = min(count, self._filled)
        start = self._next - count
        if start >= 0:
            return self._numbers[start : self._next].tolist()
        return (self._numbers[start:] + self._numbers[: self._next]).tolist()

    def recent(self, count: int) -> float:
        """Return the mean of the last `count` numbers, 0 if there is none."""
        numbers = self.latest(count)
        return sum(numbers) / max(1, len(numbers))


class StreamHistory:
    """Rates of one stream, and its latest lag."""

    def __init__(self) -> None:
        self.rates = Ring()  # rows per second
        self.lag_ms: float | None = None
        self._rows = 0
        self._lag_us = 0
        self._lag_batches = 0

    def sample(self, live: LiveStream, elapsed_s: float) -> int:
        """Take a sample; return how many rows came in the `elapsed_s` since the one before."""
        rows = live.rows - self._rows
        self.rates.push(rows / elapsed_s)
        batches = live.lag_batches - self._lag_batches
        if batches:
            self.lag_ms = (live.lag_us - self._lag_us) / batches / 1_000
        self._rows, self._lag_us, self._lag_batches = (
            live.rows,
            live.lag_us,
            live.lag_batches,
        )
        return rows


class History:
    """The last minutes of all streams, together and each."""

    def __init__(self) -> None:
        self.streams: dict[Stream, StreamHistory] = {}
        self.rates = Ring()
        self._drops = Ring()
        self._dropped = 0

    @property
    def dropped_recently(self) -> int:
        """How many rows were dropped during this history."""
        return round(sum(self._drops.latest()))

    def sample(self, streams: Mapping[Stream, LiveStream], dropped: int, elapsed_s: float) -> None:
        """Take a sample; `elapsed_s` is the time since the one before, `dropped` a total."""
        rows = 0
        for name, live in streams.items():
            rows += self.streams.setdefault(name, StreamHistory()).sample(live, elapsed_s)
        self.rates.push(rows / elapsed_s)
        self._drops.push(dropped - self._dropped)
        self._dropped = dropped
