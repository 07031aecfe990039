"""The row buffer: rows that were received and are not yet in a journal.

A stream is due when it has `FULL_ROWS` rows, or when its oldest row has waited for the flush
interval. When one is due by the interval, all are taken: one round of work for 500 quiet streams
instead of 500 rounds. A stream whose rows could not be written is due again after a growing delay.
"""

import math
from collections.abc import Iterable, Set

import msgspec

from trio_collector.events import Batch, Stream

FULL_ROWS = 1000

# One round takes no more than this, but at least one batch. While the next round is under way, the
# feeds can use the budget that this one released, and the journals that it closed can be sealed.
ROUND_BYTES = 16 * 1024 * 1024

# A full disk is freed by a person or by the uploader, where seconds matter little; the first retries
# are for errors that pass by themselves.
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 60.0


class _Waiting(msgspec.Struct):
    batches: list[Batch] = []
    rows: int = 0

    def take(self, most_bytes: float) -> list[Batch]:
        """Remove and return the first batches, up to the one that reaches `most_bytes`."""
        size_bytes = count = 0
        for batch in self.batches:
            if size_bytes >= most_bytes:
                break
            size_bytes += batch.size_bytes
            count += 1
        taken, self.batches = self.batches[:count], self.batches[count:]
        self.rows -= sum(batch.rows for batch in taken)
        return taken


class _Failure(msgspec.Struct):
    retry_at: float
    failures: int


class RowBuffer:
    """Batches by stream, in the order received. Times are those of the trio clock, in seconds."""

    def __init__(self, flush_interval_s: float) -> None:
        self.rows = 0
        self.due_at = math.inf  # when the oldest row has waited long enough
        self._flush_interval_s = flush_interval_s
        self._waiting: dict[Stream, _Waiting] = {}
        self._full: set[Stream] = set()
        self._failing: dict[Stream, _Failure] = {}

    @property
    def has_full(self) -> bool:
        """Whether a stream has so many rows that they should be written at once."""
        return bool(self._full)

    @property
    def failing(self) -> Set[Stream]:
        """The streams whose last append failed."""
        return self._failing.keys()

    def add(self, batch: Batch, now: float) -> None:
        """Add the rows of `batch`."""
        waiting = self._waiting.setdefault(batch.stream, _Waiting())
        waiting.batches.append(batch)
        waiting.rows += batch.rows
        self.rows += batch.rows
        self.due_at = min(self.due_at, now + self._flush_interval_s)
        if waiting.rows >= FULL_ROWS and batch.stream not in self._failing:
            self._full.add(batch.stream)

    def take_due(self, now: float) -> list[list[Batch]]:
        """Remove and return what is due, one list for each stream."""
        if now < self.due_at:
            return self._take([*self._full, *self._retries(now)], ROUND_BYTES)
        self.due_at = math.inf
        resting = self._failing.keys() - self._retries(now)
        due = [stream for stream in self._waiting if stream not in resting]
        taken = self._take(due, ROUND_BYTES)
        if any(stream in self._waiting for stream in due):
            self.due_at = now  # the rest did not fit into this round
        return taken

    def take_all(self) -> list[list[Batch]]:
        """Remove and return everything, due or not."""
        self.due_at = math.inf
        return self._take(list(self._waiting), math.inf)

    def put_back(self, stream: Stream, batches: Iterable[Batch], now: float) -> bool:
        """Put rows that could not be written in front; return whether this is its first failure.

        The stream is due again after a delay that grows with its failures.
        """
        self.give_back(stream, batches)
        self._full.discard(stream)
        failures = self._failing[stream].failures + 1 if stream in self._failing else 1
        self._failing[stream] = _Failure(now + retry_delay_s(failures), failures)
        return failures == 1

    def give_back(self, stream: Stream, batches: Iterable[Batch]) -> None:
        """Put rows that were taken in front again."""
        returned = list(batches)
        waiting = self._waiting.setdefault(stream, _Waiting())
        waiting.batches[:0] = returned
        rows = sum(batch.rows for batch in returned)
        waiting.rows += rows
        self.rows += rows

    def note_written(self, stream: Stream) -> None:
        """Note that rows of `stream` could be written."""
        self._failing.pop(stream, None)

    def _retries(self, now: float) -> set[Stream]:
        return {stream for stream, failure in self._failing.items() if failure.retry_at <= now}

    def _take(self, streams: Iterable[Stream], most_bytes: float) -> list[list[Batch]]:
        taken = []
        for stream in streams:
            if most_bytes <= 0:
                break
            waiting = self._waiting.get(stream)
            if waiting is None:
                continue
            batches = waiting.take(most_bytes)
            most_bytes -= sum(batch.size_bytes for batch in batches)
            self.rows -= sum(batch.rows for batch in batches)
            if not waiting.batches:
                del self._waiting[stream]
            if waiting.rows < FULL_ROWS:
                self._full.discard(stream)
            taken.append(batches)
        return taken


def retry_delay_s(failures: int) -> float:
    """Return how long to wait after this many consecutive failures."""
    return min(MAX_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 10))
