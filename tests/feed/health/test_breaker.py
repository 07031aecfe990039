"""The breaker opens on a share of unreadable frames, and only while it lasts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.feed.health.breaker import Breaker


@pytest.mark.parametrize(
    ("readable", "unreadable", "is_open"),
    [
        (50, 50, True),
        (51, 50, False),
        (0, 99, False),
        (0, 100, True),
        (1, 99, True),
        (99, 1, False),
    ],
)
def test_half_of_a_hundred_opens(readable: int, unreadable: int, is_open: bool) -> None:
    """Half or more of at least a hundred frames."""
    assert Breaker().record(readable, unreadable, 0) is is_open


def test_batches_add_up() -> None:
    """It does not matter in which batches the frames of a minute came."""
    breaker = Breaker()
    assert not any(breaker.record(0, 1, second * 0.5) for second in range(99))
    assert breaker.record(0, 1, 59)
    assert breaker.is_open


@pytest.mark.parametrize(("later", "is_open"), [(59.0, True), (60.0, False), (1e9, False)])
def test_frames_count_for_a_minute(later: float, is_open: bool) -> None:
    """What is older than the window counts no more."""
    breaker = Breaker()
    breaker.record(0, 99, 0.9)
    assert breaker.record(0, 1, later) is is_open


def test_it_closes_when_frames_can_be_read_again() -> None:
    """Readable frames push the share down."""
    breaker = Breaker()
    assert breaker.record(0, 100, 0)
    assert not breaker.record(101, 0, 1)


def test_memory_is_bounded() -> None:
    """A year of batches leaves one bucket for each second of the window."""
    breaker = Breaker()
    for tick in range(10_000):
        breaker.record(1, 0, tick * 0.3)
    assert len(breaker._buckets) <= 60


@given(
    batches=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 60), st.floats(0, 40)), min_size=1
    )
)
def test_counts_are_those_of_the_window(batches: list[tuple[int, int, float]]) -> None:
    """It is open exactly if the frames of the latest sixty whole seconds say so."""
    breaker, now, seen = Breaker(), 0.0, []
    for readable, unreadable, pause in batches:
        now += pause
        seen.append((readable, unreadable, int(now)))
        is_open = breaker.record(readable, unreadable, now)
        window = [entry for entry in seen if entry[2] > int(now) - 60]
        bad, good = sum(entry[1] for entry in window), sum(entry[0] for entry in window)
        assert is_open == (bad + good >= 100 and bad >= good)
