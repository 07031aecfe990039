"""What is missing until another session brings it, piece by piece."""

import math

import pytest

from trio_collector.events import DataType, Event, Topic
from trio_collector.feed.continuity.pending_gaps import PendingGap, PendingGaps
from trio_collector.feed.continuity.sequence import Gap

TRADE, BOOK = Topic("btc", DataType.TRADE), Topic("btc", DataType.ORDERBOOK)
FOUND_US = 7


def _event(topic: Topic, after: int | None, last: int | None) -> Event:
    return Event(*topic, str(last), None, after, last)


def _pending(*gaps: tuple[Topic, Gap]) -> PendingGaps:
    """Return gaps of trades, whose ids leave no number out, and of books; found at 1.5 s."""
    pending = PendingGaps({DataType.TRADE})
    for topic, gap in gaps:
        pending.add(PendingGap(topic, gap, FOUND_US, 1.5))
    return pending


def _left(pending: PendingGaps) -> list[Gap]:
    return [each.gap for each in pending.expire(math.inf)]


@pytest.mark.parametrize(
    ("ids", "left"),
    [
        ((10, 20), []),
        ((5, 25), []),
        ((10, 12), [Gap(12, 20, 8)]),
        ((18, 20), [Gap(10, 18, 8)]),
        ((13, 15), [Gap(10, 13, 3), Gap(15, 20, 5)]),
        ((5, 11), [Gap(11, 20, 9)]),
        ((19, 30), [Gap(10, 19, 9)]),
    ],
)
def test_what_came_is_not_missing(ids: tuple[int, int], left: list[Gap]) -> None:
    """Ids that were missing leave the gap; what lies before and behind them stays in it."""
    pending = _pending((TRADE, Gap(10, 20, 10)))
    assert pending.fill(TRADE, _event(TRADE, *ids)) is True
    assert _left(pending) == left


@pytest.mark.parametrize(
    "ids", [(8, 9), (9, 10), (20, 21), (30, 40), (None, None), (None, 15), (15, None)]
)
def test_what_was_not_missing_fills_nothing(ids: tuple[int | None, int | None]) -> None:
    """Ids beside the gap, and messages without ids, leave it as it is."""
    pending = _pending((TRADE, Gap(10, 20, 10)))
    assert pending.fill(TRADE, _event(TRADE, *ids)) is False
    assert _left(pending) == [Gap(10, 20, 10)]


def test_nothing_is_filled_where_nothing_is_missing() -> None:
    """Without a gap no message fills one."""
    assert _pending().fill(TRADE, _event(TRADE, 1, 2)) is False


def test_topics_do_not_fill_each_other() -> None:
    """The ids of another market or data type are others."""
    pending = _pending((TRADE, Gap(10, 20, 10)), (BOOK, Gap(10, 20, None)))
    eth = Topic("eth", DataType.TRADE)
    assert pending.fill(eth, _event(eth, 10, 20)) is False
    assert pending.fill(TRADE, _event(TRADE, 10, 20)) is True
    assert pending.expire(math.inf) == [PendingGap(BOOK, Gap(10, 20, None), FOUND_US, 1.5)]


def test_ids_that_leave_numbers_out_are_not_counted() -> None:
    """What is left of a gap in such ids has no count, either."""
    pending = _pending((BOOK, Gap(10, 20, None)))
    pending.fill(BOOK, _event(BOOK, 13, 15))
    assert _left(pending) == [Gap(10, 13, None), Gap(15, 20, None)]


def test_ids_that_went_back_are_not_filled_by_what_follows() -> None:
    """Behind ids that begin anew, even a long message does not bring what was missed before."""
    pending = _pending((TRADE, Gap(950, 1, None)))
    assert pending.fill(TRADE, _event(TRADE, 1, 2000)) is False
    assert _left(pending) == [Gap(950, 1, None)]


def test_gaps_are_taken_once_when_they_are_old_enough() -> None:
    """Those found by then are taken, with the time of ours at which they were; others wait."""
    pending = _pending((TRADE, Gap(1, 2, 1)))
    pending.add(PendingGap(TRADE, Gap(5, 7, 2), 9, 2.5))
    assert pending.expire(1.4) == []
    assert pending.expire(1.5) == [PendingGap(TRADE, Gap(1, 2, 1), FOUND_US, 1.5)]
    assert pending.expire(2.4) == []
    assert pending.expire(2.5) == [PendingGap(TRADE, Gap(5, 7, 2), 9, 2.5)]
    assert pending.expire(math.inf) == []


def test_the_rest_is_as_old_as_the_gap() -> None:
    """What is left of a gap is told no later, and with the same time."""
    pending = _pending((TRADE, Gap(10, 20, 10)))
    pending.fill(TRADE, _event(TRADE, 10, 12))
    assert pending.expire(1.5) == [PendingGap(TRADE, Gap(12, 20, 8), FOUND_US, 1.5)]
