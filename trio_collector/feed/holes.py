"""Ids that no session has brought yet, while another one still may.

What one session skips another may bring a moment later; only what nobody has brought for a while is
a gap. Times are monotonic, in seconds.
"""

from collections.abc import Container
from typing import NamedTuple

from trio_collector.events import DataType, Event, Topic
from trio_collector.feed.continuity import Gap


class Hole(NamedTuple):
    """Ids behind `gap.expected` up to `gap.got` that are missing of `topic`."""

    topic: Topic
    gap: Gap
    at_us: int  # our clock, when it was found
    since: float


class Holes:
    """The open holes of one connection's topics; `contiguous` as in `continuity`."""

    def __init__(self, contiguous: Container[DataType]) -> None:
        self._contiguous = contiguous
        self._open: list[Hole] = []

    def add(self, hole: Hole) -> None:
        """Note that ids are missing."""
        self._open.append(hole)

    def fill(self, topic: Topic, event: Event) -> bool:
        """Take what `event` brings out of the holes; return whether that is anything."""
        after, last = event.previous_id, event.last_id
        if after is None or last is None or not self._open:
            return False
        left = [each for hole in self._open for each in self._rest(hole, topic, after, last)]
        is_filled, self._open = left != self._open, left
        return is_filled

    def _rest(self, hole: Hole, topic: Topic, after: int, last: int) -> list[Hole]:
        """Return what is left of `hole` when the ids behind `after` up to `last` have come."""
        expected, got = hole.gap.expected, hole.gap.got
        if hole.topic != topic or last <= expected or after >= got:
            return [hole]
        is_contiguous = topic.data_type in self._contiguous
        return [
            hole._replace(gap=Gap(start, end, end - start if is_contiguous else None))
            for start, end in ((expected, after), (last, got))
            if start < end
        ]

    def take(self, until: float) -> list[Hole]:
        """Return the holes that were found at `until` or before; they are no longer waited for."""
        ripe = [hole for hole in self._open if hole.since <= until]
        self._open = [hole for hole in self._open if hole.since > until]
        return ripe
