"""Recent events: a bounded list, in words that a person reads."""

import pytest

from trio_collector.ledger import LedgerEvent
from trio_collector.telemetry.recent_events import (
    MAX_RECENT_EVENTS,
    RecentEvents,
    render_ledger_event,
)


def test_the_list_is_bounded() -> None:
    """The oldest events leave."""
    events = RecentEvents()
    for number in range(MAX_RECENT_EVENTS + 5):
        events.add(f"subject {number}", "event", number, "")
    subjects = [each.subject for each in events]
    assert len(subjects) == MAX_RECENT_EVENTS
    assert subjects[0] == f"subject {MAX_RECENT_EVENTS + 4}"
    assert subjects[-1] == "subject 5"


def test_a_repetition_is_recent() -> None:
    """An event that repeats is counted, moves to the front and is not the next to leave."""
    events = RecentEvents()
    for number in range(MAX_RECENT_EVENTS):
        events.add(f"subject {number}", "event", number, "")
    events.add("subject 0", "event", 1_000, "again")
    events.add("newcomer", "event", 1_001, "")
    assert [(each.subject, each.times, each.text) for each in events][:2] == [
        ("newcomer", 1, ""),
        ("subject 0", 2, "again"),
    ]
    assert "subject 1" not in {each.subject for each in events}


@pytest.mark.parametrize(
    ("event", "fields", "text"),
    [
        (LedgerEvent.GAP, {"expected": 2, "got": 4, "missing": 2}, "expected 2, got 4, 2 missing"),
        (LedgerEvent.GAP, {"expected": "a", "got": "b", "missing": None}, "expected a, got b"),
        (LedgerEvent.DUPLICATE, {"latest": 4, "got": 2}, "latest 4, got 2"),
        (LedgerEvent.STALE, {"limit_s": 90.0}, "no data for 90 s"),
        (LedgerEvent.BREAKER, {}, "most frames could not be read"),
        (LedgerEvent.REJECTED, {"reason": "no such market"}, "no such market"),
        (LedgerEvent.GAP, {"from": 3}, "from 3"),
        (LedgerEvent.STALE, {"limit_s": "long"}, "limit_s long"),
        (LedgerEvent.SUBSCRIBED, {}, None),
        (LedgerEvent.DISCONNECTED, {"reason": "close_frame"}, None),
    ],
)
def test_ledger_events_in_words(
    event: LedgerEvent, fields: dict[str, object], text: str | None
) -> None:
    """A ledger row is put into words; unexpected fields are shown as they are; most are not listed."""
    assert render_ledger_event(event, fields) == text
