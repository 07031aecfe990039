"""Ids that no session has brought yet, while another one still may.

What one session skips another may bring a moment later; only what nobody has brought for a while is
a gap. Times are monotonic, in seconds.
"""

from collections.abc import Container
from typing import NamedTuple

from trio_collector.events import DataType, Event, Topic
from trio_collector.feed.continuity.sequence import Gap


class PendingGap(NamedTuple):
    """Ids behind `gap.expected` up to `gap.got` that are missing of `topic`."""

    topic: Topic
    gap: Gap
    at_us: int  # our clock, when it was found
    since: float


class PendingGaps:
    """The open holes of one connection's topics; `contiguous_ids` as in `continuity`."""

    def __init__(self, contiguous_ids: Container[DataType]) -> None:
        self._contiguous_ids = contiguous_ids
        self._open: list[PendingGap] = []

    def add(self, gap: PendingGap) -> None:
        """Note that ids are missing."""
        self._open.append(gap)

    def fill(self, topic: Topic, event: Event) -> bool:
        """Take what `event` brings out of the holes; return whether that is anything."""
        after, last = event.previous_id, event.last_id
        if after is None or last is None or not self._open:
            return False
        left = [each for gap in self._open for each in self._rest(gap, topic, after, last)]
        is_filled, self._open = left != self._open, left
        return is_filled

    def _rest(self, gap: PendingGap, topic: Topic, after: int, last: int) -> list[PendingGap]:
        """Return what is left of `gap` when the ids behind `after` up to `last` have come."""
        expected, got = gap.gap.expected, gap.gap.got
        if gap.topic != topic or last <= expected or after >= got:
            return [gap]
        is_contiguous = topic.data_type in self._contiguous_ids
        return [
            gap._replace(gap=Gap(start, end, end - start if is_contiguous else None))
            for start, end in ((expected, after), (last, got))
            if start < end
        ]

    def expire(self, until: float) -> list[PendingGap]:
        """Return the holes that were found at `until` or before; they are no longer waited for."""
        expired = [gap for gap in self._open if gap.since <= until]
        self._open = [gap for gap in self._open if gap.since > until]
        return expired
