"""Delays double, are scattered, and stay in bounds; Retry-After asks for more."""

import email.utils
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.backoff import Backoff, parse_retry_after

NOW_S = 1_795_348_800.0


class Middle(random.Random):
    """Dice that always fall in the middle."""

    def random(self) -> float:
        return 0.5


def test_the_delay_doubles_up_to_the_longest() -> None:
    """Without the scatter: 1, 2, 4 ... and then 0.8 of the longest, around which it scatters."""
    backoff = Backoff(1, 60, Middle())
    assert [backoff.next_delay() for _ in range(8)] == pytest.approx([1, 2, 4, 8, 16, 32, 48, 48])


def test_reset_starts_over() -> None:
    """After a session that was worth it the delay is the first one again."""
    backoff = Backoff(1, 60, Middle())
    for _ in range(5):
        backoff.next_delay()
    backoff.reset()
    assert backoff.next_delay() == pytest.approx(1)


@pytest.mark.parametrize(("asked_s", "delay_s"), [(0.5, 1), (7, 7), (3600, 3600)])
def test_a_wish_to_wait_longer_is_granted(asked_s: float, delay_s: float) -> None:
    """Retry-After is honoured, beyond the longest delay too; a shorter one changes nothing."""
    assert Backoff(1, 60, Middle()).next_delay(asked_s) == pytest.approx(delay_s)


def test_a_wish_counts_as_an_attempt() -> None:
    """The delay goes on doubling behind a Retry-After."""
    backoff = Backoff(1, 60, Middle())
    backoff.next_delay(30)
    assert backoff.next_delay() == pytest.approx(2)


@given(
    initial_s=st.floats(0.001, 100),
    factor=st.floats(1, 1000),
    seed=st.integers(),
    attempts=st.integers(1, 30),
)
def test_no_delay_leaves_its_bounds(
    initial_s: float, factor: float, seed: int, attempts: int
) -> None:
    """A delay lies within a quarter of its base, and never beyond the longest."""
    max_s = initial_s * factor
    backoff = Backoff(initial_s, max_s, random.Random(seed))
    for attempt in range(attempts):
        base_s = min(initial_s * 2**attempt, max_s / 1.25)
        delay_s = backoff.next_delay()
        assert 0.75 * base_s * (1 - 1e-9) <= delay_s <= 1.25 * base_s * (1 + 1e-9)
        assert delay_s <= max_s * (1 + 1e-9)


def test_delays_at_the_longest_are_scattered() -> None:
    """Feeds that wait for the longest time do not come back together."""
    backoff = Backoff(60, 60, random.Random(1))
    delays = [backoff.next_delay() for _ in range(1000)]
    assert 36 <= min(delays) < 38
    assert 58 < max(delays) <= 60


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("7", 7.0),
        ("101", 100.0),
        (email.utils.formatdate(NOW_S + 30, usegmt=True), 30.0),
        (email.utils.formatdate(NOW_S + 101, usegmt=True), 100.0),
        (email.utils.formatdate(NOW_S - 30, usegmt=True), 0.0),
        ("7.5", None),
        ("-7", None),
        ("", None),
        ("soon", None),
        ("Mon, 06 Nov 99999999999999999999 08:49:37 GMT", None),
    ],
)
def test_retry_after(text: str, wait_s: float | None) -> None:
    """Seconds and dates are read, up to a limit; what is neither asks for nothing."""
    assert parse_retry_after(text, NOW_S, 100.0) == wait_s


def test_what_counts_as_seconds() -> None:
    """The caller says which text is seconds; text that then is no number asks for nothing."""

    def is_seconds(text: str) -> bool:
        return text[:1].isdigit()

    assert parse_retry_after("7.5", NOW_S, 100.0, is_seconds) == 7.5
    assert parse_retry_after("7 or 8", NOW_S, 100.0, is_seconds) is None
