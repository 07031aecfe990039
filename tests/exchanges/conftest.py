"""What the tests of the exchanges share: the own captures, and what a parsed frame must be."""

from collections.abc import Callable

import msgspec
import pytest

from trio_collector.events import Event, Parsed

INT64 = 2**63


@pytest.fixture(scope="session")
def require_sound() -> Callable[[Parsed], None]:
    """A check that what an adapter returned can be counted, compared and stored."""

    def check(parsed: Parsed) -> None:
        assert isinstance(parsed, tuple)
        events = [item for item in parsed if isinstance(item, Event)]
        assert len({(event.symbol, event.data_type) for event in events}) == len(events)
        for event in events:
            _check_event(event)
        msgspec.json.encode(parsed)

    return check


def _check_event(event: Event) -> None:
    assert event.symbol
    assert event.symbol == event.symbol.lower()
    assert event.exchange_us is None or 0 < event.exchange_us < INT64
    for number in (event.previous_id, event.last_id):
        assert number is None or -INT64 <= number < INT64
    event.sequence_id.encode()
