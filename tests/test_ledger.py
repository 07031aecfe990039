"""What happened to a stream is a `status` row."""

import orjson
import pytest

from trio_collector.events import DataType, Stream
from trio_collector.ledger import LedgerEvent, status_batch

BOOKS = Stream("okx", "btcusdt", DataType.ORDERBOOK)


def test_a_status_row_lies_beside_its_stream() -> None:
    """A status row has the exchange and symbol of the stream, and is of data type `status`."""
    batch = status_batch(BOOKS, LedgerEvent.LIVE, received_us=7)
    assert batch.stream == Stream("okx", "btcusdt", DataType.STATUS)
    assert (batch.rows, batch.received_us, batch.exchange_us) == (1, 7, [None])
    assert batch.sequence_ids == [""]


@pytest.mark.parametrize("event", LedgerEvent)
def test_it_says_what_happened_to_which_data(event: LedgerEvent) -> None:
    """Its text is JSON with the event and the data type it is about."""
    (frame,) = status_batch(BOOKS, event, 7).frames
    assert orjson.loads(frame) == {"event": event.value, "data_type": "orderbook"}


def test_fields_of_the_event() -> None:
    """An event's own fields stand beside it, in the order they were given."""
    fields = {"previous": 7, "expected": 8, "got": 10, "missing": 2}
    (frame,) = status_batch(BOOKS, LedgerEvent.GAP, 7, fields).frames
    assert frame == (
        b'{"event":"gap","data_type":"orderbook","previous":7,"expected":8,"got":10,"missing":2}'
    )


def test_size_is_counted() -> None:
    """A status row takes of the byte budget like any other."""
    assert status_batch(BOOKS, LedgerEvent.STOPPED, 7).size_bytes > 0


def test_events_of_the_ledger() -> None:
    """The words of the ledger are fixed: readers of old archives know them."""
    assert {event.value for event in LedgerEvent} == {
        "subscribed", "live", "disconnected", "gap", "duplicate", "stale", "breaker", "rejected",
        "shed", "handover", "recovered", "stopped",
    }  # fmt: skip
