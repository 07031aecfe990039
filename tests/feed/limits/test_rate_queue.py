"""Turns: the oldest loss first, within the limits wherever one measures, and nothing lost."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.exchanges.adapter import Limits, Rate
from trio_collector.feed.limits.rate_limiter import RateLimiter
from trio_collector.feed.limits.rate_queue import (
    EVENLY_S,
    SLACK,
    RateQueue,
    Ticket,
    open_shared_limiter,
    smooth,
)

BINANCE = Rate(300, 300.0)
OKX = Rate(3, 1.0)


def take_all(turns: RateQueue, now: float = 0.0) -> list[tuple[float, Ticket]]:
    """Take every turn as soon as may be; return when each was taken."""
    taken = []
    while turns.first is not None:
        ticket = turns.first
        now = turns.due(ticket, now)
        assert turns.grant(ticket, now)
        taken.append((now, ticket))
    return taken


def most_within(slots: list[float], per_s: float) -> int:
    """Return how many of `slots` a window of `per_s` holds at most."""
    ends = [sum(start <= slot < start + per_s for slot in slots) for start in slots]
    return max(ends, default=0)


@pytest.mark.parametrize("rate", [BINANCE, OKX, Rate(8, 1.0), Rate(500, 300.0)], ids=str)
def test_500_feeds_start_within_the_limit(rate: Rate) -> None:
    """Wherever one measures, no window holds more than the exchange allows."""
    turns = RateQueue([rate])
    for _ in range(500):
        turns.enter()
    slots = [slot for slot, _turn in take_all(turns)]
    assert len(slots) == 500
    assert most_within(slots, rate.per_s) <= rate.times
    assert most_within(slots, 0.99) <= 10


def test_slots_are_even_under_a_limit_of_seconds() -> None:
    """Three a second go one by one, a tenth slower than allowed."""
    turns = RateQueue([OKX])
    for _ in range(4):
        turns.enter()
    slots = [slot for slot, _turn in take_all(turns)]
    assert slots == pytest.approx([0, 1.1 / 3, 2.2 / 3, 1.1])


def test_a_limit_of_ten_seconds_is_spread_evenly() -> None:
    """It is the exchange's seconds that count, before the tenth that is added."""
    times, per_s = smooth([Rate(5, EVENLY_S)])[0]
    assert times == 1
    assert per_s == pytest.approx(2 * SLACK)


def test_ten_connections_start_within_a_second() -> None:
    """Under a limit of minutes a small start does not wait."""
    turns = RateQueue([BINANCE])
    for _ in range(10):
        turns.enter()
    assert take_all(turns)[-1][0] == pytest.approx(0.9)


def test_the_oldest_loss_goes_first() -> None:
    """500 feeds that were cut come back in the order of their losses, whoever asks first."""
    losses = [100 + number / 100 for number in range(500)]
    random.Random(1).shuffle(losses)
    turns = RateQueue([OKX])
    for lost_at in losses:
        turns.enter(lost_at)
    assert [ticket.lost_at for _slot, ticket in take_all(turns, 110.0)] == sorted(losses)


def test_equals_go_in_the_order_of_asking() -> None:
    """A tie is decided by who came first."""
    turns = RateQueue([OKX])
    asked = [turns.enter(7.0) for _ in range(5)]
    assert [ticket for _slot, ticket in take_all(turns)] == asked


def test_only_the_first_may_go() -> None:
    """Whoever is not first is told to wait for no time in particular."""
    turns = RateQueue([])
    second, first = turns.enter(2.0), turns.enter(1.0)
    assert turns.due(second, 0) == math.inf
    assert not turns.grant(second, 0)
    assert turns.grant(first, 0)
    assert turns.grant(second, 0)


def test_who_leaves_takes_no_slot_along() -> None:
    """A turn that was given up costs nobody anything."""
    turns = RateQueue([OKX])
    leaving = [turns.enter(0.0) for _ in range(100)]
    stays = turns.enter(1.0)
    for ticket in leaving:
        turns.leave(ticket)
    assert turns.due(stays, 5.0) == 5.0


def test_a_closed_venue_lets_nobody_in() -> None:
    """Until it opens again nobody goes; then they go at the usual pace. It only closes longer."""
    turns = RateQueue([OKX])
    turns.close(60.0)
    turns.close(30.0)
    for _ in range(3):
        turns.enter()
    slots = [slot for slot, _turn in take_all(turns)]
    assert slots == pytest.approx([60, 60 + 1.1 / 3, 60 + 2.2 / 3])


def test_weights_share_a_limit() -> None:
    """Heavy requests wait for room, and a light one behind them keeps its place."""
    turns = RateQueue([Rate(6000, 60.0)])
    for _ in range(24):
        turns.enter(weight=250)
    turns.enter(weight=250)
    light = turns.enter(weight=5)
    taken = take_all(turns)
    assert taken[-1][1] is light
    assert taken[23][0] < 3
    assert taken[24][0] == pytest.approx(60 * SLACK)


def test_messages_of_all_connections_are_limited_together() -> None:
    """Connections that send three messages each pass no limit of 8 messages a second."""
    limits = Limits((Rate(8, 1.0),), 100, requests_together=Rate(8, 1.0))
    turns = RateQueue(limits.connects, open_shared_limiter(limits))
    for _ in range(50):
        turns.enter(shared=3)
    messages = [slot for slot, _turn in take_all(turns) for _message in range(3)]
    assert most_within(messages, 1.0) <= 8


def test_two_queues_share_a_throttle() -> None:
    """What one queue takes, the other has not."""
    shared = RateLimiter([Rate(2, 10.0)])
    first, second = RateQueue(shared=shared), RateQueue(shared=shared)
    assert first.grant(first.enter(shared=2), 0)
    assert second.due(second.enter(shared=1), 0) == 10


def test_no_limit_no_pace() -> None:
    """Where the exchange names no limit, nobody waits."""
    assert smooth([]) == []
    turns = RateQueue([])
    for _ in range(1000):
        turns.enter()
    assert take_all(turns)[-1][0] == 0


rates = st.lists(
    st.builds(Rate, st.integers(1, 20), st.sampled_from([1.0, 5.0, 60.0])), min_size=1, max_size=2
)
steps = st.lists(
    st.tuples(st.sampled_from([0.0, 0.01, 0.3, 4.0]), st.integers(0, 5), st.booleans()), max_size=60
)


@given(rates=rates, steps=steps)
def test_whatever_happens_the_limits_hold(
    rates: list[Rate], steps: list[tuple[float, int, bool]]
) -> None:
    """Asking, leaving and taking in any order passes no limit."""
    turns, now, slots = RateQueue(rates), 0.0, list[float]()
    for wait_s, lost_at, leaves in steps:
        now += wait_s
        ticket = turns.enter(float(lost_at))
        if leaves:
            turns.leave(ticket)
        while turns.first is not None and turns.grant(turns.first, now):
            slots.append(now)
    slots += [slot for slot, _turn in take_all(turns, now)]
    for rate in rates:
        assert most_within(slots, rate.per_s) <= rate.times


def test_what_is_shared_is_taken_by_those_who_ask_for_it() -> None:
    """A ticket that needs nothing of the shared limit leaves it to others, and waits for nothing."""
    turns = RateQueue(shared=RateLimiter([Rate(1, 10.0)]))
    assert turns.grant(turns.enter(), 0) is True
    assert turns.grant(turns.enter(shared=1), 0) is True
    waits = turns.enter(shared=1)
    assert turns.grant(waits, 9) is False
    assert turns.grant(waits, 10) is True
    assert turns.grant(turns.enter(), 10) is True


def test_without_a_shared_limit_nothing_is_shared() -> None:
    """Messages of connections that are counted alone cost nothing here."""
    turns = RateQueue()
    assert turns.grant(turns.enter(shared=1000), 0) is True
    assert turns.grant(turns.enter(shared=1000), 0) is True
