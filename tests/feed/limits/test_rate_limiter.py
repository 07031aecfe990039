"""Slots keep every limit, in the order of asking, and no later than they must."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.exchanges.adapter import Rate
from trio_collector.feed.limits.rate_limiter import RateLimiter

rates = st.lists(st.builds(Rate, st.integers(1, 5), st.integers(1, 20).map(float)), max_size=3).map(
    tuple
)
waits = st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0, 7.0]), max_size=40)


def _book(limits: tuple[Rate, ...], waits: list[float]) -> list[float]:
    """Return the slots of requests that come with `waits` between them."""
    limiter, now, slots = RateLimiter(limits), 100.0, []
    for wait in waits:
        now += wait
        slots.append(now + limiter.reserve(now))
    return slots


def test_a_full_window_delays() -> None:
    """Three a second: the fourth waits for the first one's second to pass."""
    limiter = RateLimiter([Rate(3, 1)])
    assert [limiter.reserve(10) for _ in range(7)] == [0, 0, 0, 1, 1, 1, 2]
    assert limiter.reserve(11.5) == 0.5


def test_the_strictest_rate_rules() -> None:
    """A burst is allowed by the short window and stopped by the long one."""
    limiter = RateLimiter([Rate(2, 1), Rate(3, 300)])
    assert [limiter.reserve(0) for _ in range(4)] == [0, 0, 1, 300]


def test_who_asks_first_goes_first() -> None:
    """A later request never gets an earlier slot, also when the clock has moved on."""
    limiter = RateLimiter([Rate(1, 10)])
    assert limiter.reserve(0) == 0
    assert limiter.reserve(1) == 9
    assert limiter.reserve(2) == 18


def test_weights_add_up() -> None:
    """Ten within five seconds: two of four leave no room for a third, but for one of two."""
    limiter = RateLimiter([Rate(10, 5)])
    assert [limiter.reserve(now, 4) for now in (0, 1)] == [0, 0]
    assert limiter.earliest(2, 2) == 2
    assert limiter.earliest(2, 4) == 5
    assert limiter.reserve(2, 4) == 3
    assert limiter.reserve(2, 1) == 3  # none goes before an earlier one


def test_what_is_too_heavy_goes_alone() -> None:
    """A weight that no window holds waits until nothing else is in it, and then fills it."""
    limiter = RateLimiter([Rate(10, 5)])
    assert [limiter.reserve(0, weight) for weight in (1, 25, 25, 1)] == [0, 5, 10, 15]


@pytest.mark.parametrize("now", [0.0, 1e6])
def test_without_rates_nothing_waits(now: float) -> None:
    """No limit, no delay."""
    assert [RateLimiter([]).reserve(now) for _ in range(3)] == [0, 0, 0]


@given(limits=rates, waits=waits)
def test_no_window_holds_more_than_its_count(limits: tuple[Rate, ...], waits: list[float]) -> None:
    """Of any run of slots longer than `count`, the ends are `per_s` apart."""
    slots = _book(limits, waits)
    assert slots == sorted(slots)
    for count, per_s in limits:
        assert all(
            later - earlier >= per_s for earlier, later in zip(slots, slots[count:], strict=False)
        )


@given(limits=rates, waits=waits)
def test_no_slot_is_later_than_it_must_be(limits: tuple[Rate, ...], waits: list[float]) -> None:
    """A slot lies at the asking, at the slot before, or where a window ends."""
    slots = _book(limits, waits)
    now = 100.0
    for index, (slot, wait) in enumerate(zip(slots, waits, strict=True)):
        now += wait
        reasons = {now, *slots[max(0, index - 1) : index]}
        reasons |= {slots[index - count] + per_s for count, per_s in limits if count <= index}
        assert slot == max(reasons)


@pytest.mark.parametrize(("weight", "slot"), [(6, 5), (7, 6), (9, 6)])
def test_as_much_as_needed_has_to_be_over(weight: int, slot: float) -> None:
    """A heavy slot waits until enough of those before it lie behind, and not only the first."""
    limiter = RateLimiter([Rate(10, 5)])
    assert [limiter.reserve(now, 4) for now in (0, 1)] == [0, 0]
    assert limiter.earliest(2, weight) == slot


def test_a_slot_weighs_one() -> None:
    """Where nothing else is said."""
    limiter = RateLimiter([Rate(2, 10)])
    limiter.reserve(0)
    assert limiter.earliest(1) == 1
    limiter.reserve(1)
    assert limiter.earliest(2) == 10


def test_slots_are_forgotten() -> None:
    """Memory is bounded by what the window holds."""
    limiter = RateLimiter([Rate(5, 1)])
    for tick in range(1000):
        limiter.reserve(tick * 0.3)
    assert len(limiter._windows[0]._slots) <= 5
