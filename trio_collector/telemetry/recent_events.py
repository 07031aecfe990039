"""The list of recent events, for people: what happened, to whom, and how many times.

What happens to the same subject again and again is one entry, with the latest words and a count.
Entries are ordered by their latest time, and only the latest MAX_RECENT_EVENTS are kept.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping

import msgspec

from trio_collector.ledger import LedgerEvent

MAX_RECENT_EVENTS = 200


class RecentEvent(msgspec.Struct, eq=False):
    """`event` happened to `subject`, `times` times since `first_us`."""

    subject: str
    event: str
    text: str
    first_us: int
    latest_us: int
    times: int = 1


class RecentEvents:
    """The list; iterating yields the latest event first."""

    def __init__(self) -> None:
        self._events: OrderedDict[tuple[str, str], RecentEvent] = OrderedDict()

    def __iter__(self) -> Iterator[RecentEvent]:
        return reversed(self._events.values())

    def add(self, subject: str, event: str, at_us: int, text: str) -> None:
        """Add an event, or count it if the list has one of the same name and subject."""
        known = self._events.get((subject, event))
        if known is None:
            self._events[subject, event] = RecentEvent(subject, event, text, at_us, at_us)
        else:
            known.text, known.latest_us = text, at_us
            known.times += 1
            self._events.move_to_end((subject, event))
        while len(self._events) > MAX_RECENT_EVENTS:
            self._events.popitem(last=False)


# The ledger's events that are listed, and in which words. The end of a session is not among them:
# it is listed once for its connection instead of once for each stream.
_WORDS = {
    LedgerEvent.GAP: "expected {expected}, got {got}",
    LedgerEvent.DUPLICATE: "latest {latest}, got {got}",
    LedgerEvent.STALE: "no data for {limit_s:g} s",
    LedgerEvent.BREAKER: "most frames could not be read",
    LedgerEvent.REJECTED: "{reason}",
}


def render_ledger_event(event: LedgerEvent, fields: Mapping[str, object]) -> str | None:
    """Return a ledger row's event in words; None if such events are not listed."""
    if event not in _WORDS:
        return None
    try:
        text = _WORDS[event].format_map(fields)
    except (KeyError, ValueError, TypeError):  # other fields than expected are shown as they are
        return ", ".join(f"{name} {value}" for name, value in fields.items())
    missing = fields.get("missing")
    return text if missing is None else f"{text}, {missing} missing"
