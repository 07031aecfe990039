"""Ids prove holes and repetitions, and nothing more than they can."""

import pytest

from trio_collector.events import ConnectionSequence, DataType, Event, Topic
from trio_collector.feed.continuity.sequence import Duplicate, Gap, SequenceChecker

TRADE, BOOK = DataType.TRADE, DataType.ORDERBOOK
Ids = tuple[int | None, int | None]


def _event(
    ids: Ids, data_type: DataType = TRADE, symbol: str = "btc", *, reset: bool = False
) -> Event:
    previous_id, last_id = ids
    return Event(symbol, data_type, str(last_id), None, previous_id, last_id, reset)


def _check(continuity: SequenceChecker, *ids: Ids, data_type: DataType = TRADE) -> list[object]:
    return [continuity.check(_event(each, data_type)) for each in ids]


@pytest.fixture
def continuity() -> SequenceChecker:
    """Trades leave no id out, books do."""
    return SequenceChecker(contiguous_ids={TRADE})


@pytest.mark.parametrize("data_type", [TRADE, BOOK])
def test_events_that_follow_prove_nothing(continuity: SequenceChecker, data_type: DataType) -> None:
    """The first event may start anywhere, and each next one follows."""
    assert _check(continuity, (5, 9), (9, 10), (10, 17), data_type=data_type) == [None] * 3


def test_a_hole_is_a_gap_once(continuity: SequenceChecker) -> None:
    """A gap says what was expected, what came and how many ids are missing; then it goes on."""
    assert _check(continuity, (4, 5), (8, 9), (9, 10)) == [None, Gap(5, 8, 3), None]


def test_ids_that_leave_numbers_out_have_no_count(continuity: SequenceChecker) -> None:
    """Where steps are arbitrary the number of missing messages is not known."""
    assert _check(continuity, (4, 5), (8, 9), data_type=BOOK) == [None, Gap(5, 8, None)]


@pytest.mark.parametrize("data_type", [TRADE, BOOK])
@pytest.mark.parametrize("repeated", [(2, 3), (1, 2), (1, 3), (0, 1)])
def test_what_was_covered_is_a_duplicate(
    continuity: SequenceChecker, data_type: DataType, repeated: Ids
) -> None:
    """A repeated or late event is one, and the stream goes on where it was."""
    assert _check(continuity, (0, 1), (1, 2), (2, 3), repeated, (3, 4), data_type=data_type) == [
        None,
        None,
        None,
        Duplicate(3, repeated[1] or 0),
        None,
    ]


def test_what_came_late_fills_no_alarm(continuity: SequenceChecker) -> None:
    """An event from a hole that was reported is a duplicate: the hole stays on record."""
    assert _check(continuity, (4, 5), (6, 7), (5, 6))[1:] == [Gap(5, 6, 1), Duplicate(7, 6)]


def test_an_overlap_is_no_gap(continuity: SequenceChecker) -> None:
    """Past trades that reach up to new ones, as after a reconnect, leave nothing out."""
    assert _check(continuity, (0, 50), (30, 60), (60, 61)) == [None, None, None]


@pytest.mark.parametrize("past", [(10, 45), (10, 50), (10, 60)])
def test_an_overlap_may_reach_further_back(continuity: SequenceChecker, past: Ids) -> None:
    """Past trades from before the stream was first heard leave nothing out, either."""
    last = max(50, past[1] or 0)
    assert _check(continuity, (40, 50), past, (last, 70), (10, 20)) == [
        None,
        None,
        None,
        Duplicate(70, 20),
    ]


def test_an_overlap_of_ids_with_steps_is_a_gap(continuity: SequenceChecker) -> None:
    """A book update is whole: one that follows another than the latest has lost its own."""
    assert _check(continuity, (0, 50), (30, 60), (60, 61), data_type=BOOK) == [
        None,
        Gap(50, 30, None),
        None,
    ]


@pytest.mark.parametrize("data_type", [TRADE, BOOK])
def test_what_was_never_covered_is_a_gap(continuity: SequenceChecker, data_type: DataType) -> None:
    """Ids that begin again from a small number were not seen before, so they prove a hole."""
    assert _check(continuity, (900, 950), (1, 2), (2, 3), data_type=data_type) == [
        None,
        Gap(950, 1, None),
        None,
    ]


def test_okx_may_go_back(continuity: SequenceChecker) -> None:
    """A smaller id is in order where `previous_id` is; what is covered starts afresh with it."""
    assert _check(continuity, (10, 15), (15, 3), (3, 5), data_type=BOOK) == [None] * 3
    assert _check(continuity, (3, 5), (12, 13), data_type=BOOK) == [
        Duplicate(5, 5),
        Gap(5, 12, None),
    ]


def test_okx_keepalive_is_no_gap(continuity: SequenceChecker) -> None:
    """An empty update follows itself."""
    assert _check(continuity, (10, 15), (15, 15), (15, 17), data_type=BOOK) == [None] * 3


def test_a_hole_behind_a_lost_restart_is_found(continuity: SequenceChecker) -> None:
    """Ids that go back into what was covered are taken for duplicates until they pass its end."""
    found = _check(continuity, (10, 90), (20, 60), (60, 95), (95, 99), data_type=BOOK)
    assert found == [None, Duplicate(90, 60), Gap(90, 60, None), None]


def test_a_reset_starts_afresh(continuity: SequenceChecker) -> None:
    """A snapshot follows nothing, and what comes next follows it."""
    continuity.check(_event((4, 5)))
    assert continuity.check(_event((None, 3), reset=True)) is None
    assert continuity.check(_event((99, 200), reset=True)) is None
    assert _check(continuity, (200, 201), (150, 160)) == [None, Gap(201, 150, None)]


@pytest.mark.parametrize("ids", [(None, None), (7, None)])
def test_events_without_ids_prove_nothing(continuity: SequenceChecker, ids: Ids) -> None:
    """Where the exchange numbers nothing, nothing is said, and nothing is forgotten."""
    assert _check(continuity, (0, 1), ids, (1, 2), (3, 4)) == [None, None, None, Gap(2, 3, 1)]


def test_streams_do_not_mix(continuity: SequenceChecker) -> None:
    """Each symbol and data type has its own ids."""
    events = [
        _event((0, 1)),
        _event((70, 71), symbol="eth"),
        _event((500, 501), BOOK),
        _event((1, 2)),
        _event((71, 72), symbol="eth"),
        _event((501, 502), BOOK),
    ]
    assert [continuity.check(event) for event in events] == [None] * 6


def test_a_connection_counts_its_frames(continuity: SequenceChecker) -> None:
    """A jump is a gap over the whole connection, a lower number is late or repeated."""
    found = [continuity.check_connection(ConnectionSequence(n)) for n in (0, 1, 4, 5, 3, 5, 6)]
    assert found == [None, None, Gap(2, 4, 2), None, Duplicate(5, 3), Duplicate(5, 5), None]


def test_past_ids_up_to_the_first_leave_nothing_out(continuity: SequenceChecker) -> None:
    """Past trades that end where the stream was first heard make it longer, and no gap."""
    assert _check(continuity, (40, 50), (30, 40), (35, 38), (50, 51)) == [
        None,
        None,
        Duplicate(50, 38),
        None,
    ]


@pytest.mark.parametrize("past", [(10, 45), (10, 60)])
def test_past_ids_with_steps_are_a_gap(continuity: SequenceChecker, past: Ids) -> None:
    """Where ids leave numbers out, one from before the stream was heard proves a hole."""
    assert _check(continuity, (40, 50), past, data_type=BOOK) == [None, Gap(50, 10, None)]


def test_an_event_that_follows_nothing_starts_afresh(continuity: SequenceChecker) -> None:
    """An id without the one before it is no proof; the next event has to follow it."""
    assert _check(continuity, (4, 5), (None, 9), (9, 10), (11, 12)) == [
        None,
        None,
        None,
        Gap(10, 11, 1),
    ]


def test_it_tells_which_id_was_reached(continuity: SequenceChecker) -> None:
    """That of the latest event of the topic, whatever a repetition ends with."""
    trades = Topic("btc", TRADE)
    assert continuity.reached(trades) is None
    _check(continuity, (4, 5), (8, 9), (5, 6))
    assert continuity.reached(trades) == 9
    assert continuity.reached(Topic("btc", BOOK)) is None
