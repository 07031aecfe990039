"""Histories: rates of the last minutes, in bounded memory."""

from collections.abc import Callable

import pytest

from trio_collector.endpoint.history import History, Ring
from trio_collector.events import Batch
from trio_collector.telemetry.live_state import LiveState


def test_ring_keeps_the_latest() -> None:
    """A ring forgets the oldest number for each new one, once it is full."""
    ring = Ring(3)
    assert ring.latest() == []
    for number in range(5):
        ring.push(number)
    assert ring.latest() == [2, 3, 4]
    assert ring.latest(2) == [3, 4]


@pytest.mark.parametrize(("numbers", "mean"), [([], 0), ([4], 4), ([100, 1, 3], 2)])
def test_mean_of_the_latest(numbers: list[float], mean: float) -> None:
    """A mean is over as many numbers as there are, and at most as many as asked for."""
    ring = Ring()
    for number in numbers:
        ring.push(number)
    assert ring.recent(2) == mean


def test_rates(live: LiveState, new_batch: Callable[..., Batch]) -> None:
    """A rate is rows by time, of each stream and of all, and counts nothing twice."""
    history = History()
    history.sample(live.streams, 0, 2.0)
    first, second = live.streams
    live.received(new_batch(first, 10, 1))
    live.received(new_batch(second, 30, 1))
    history.sample(live.streams, 0, 4.0)
    history.sample(live.streams, 0, 2.0)
    assert history.streams[first].rates.latest() == [0.5, 2.5, 0.0]
    assert history.rates.latest() == [1.0, 10.0, 0.0]


def test_lag_is_that_of_the_latest_sample_with_data(
    live: LiveState, new_batch: Callable[..., Batch]
) -> None:
    """A sample without data, or without times of the exchange, leaves the lag as it was."""
    history = History()
    stream = next(iter(live.streams))
    for lag_us in (10_000, 20_000):
        live.received(new_batch(stream, 5, 1_000_000, lag_us))
    history.sample(live.streams, 0, 2.0)
    live.received(new_batch(stream, 1, 1_000_000, None))
    history.sample(live.streams, 0, 2.0)
    # 5 ms of the first batch of all, see `live`.
    assert history.streams[stream].lag_ms == pytest.approx(35 / 3)


def test_drops_are_forgotten(live: LiveState) -> None:
    """Rows that were dropped are recent as long as the history lasts."""
    history = History()
    for total in (0, 7, 9):
        history.sample(live.streams, total, 2.0)
    assert history.dropped_recently == 9
    for _ in range(120):
        history.sample(live.streams, 9, 2.0)
    assert history.dropped_recently == 0
