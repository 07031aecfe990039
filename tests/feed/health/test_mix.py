"""The mix of messages: what is usual however busy it is, and what is a change."""

import math
import random
from collections.abc import Callable

import pytest

from trio_collector.feed.health.mix import LEAST_MESSAGES, WINDOW_S, WINDOWS_TO_LEARN, Mix

WORTH_A_LOOK = 0.05  # as deploy/prometheus/alerts.yml has it
DAY_S = 86_400.0
LEARNED_S = WINDOWS_TO_LEARN * WINDOW_S

Counts = dict[str, int]


def judge(seconds: float, counts_at: Callable[[float], Counts], step_s: float = 30) -> list[float]:
    """Return the shift of each window of `seconds` in which `counts_at` came each `step_s`."""
    mix, now, shifts = Mix(0), 0.0, []
    while now < seconds:
        now += step_s
        for kind, messages in counts_at(now).items():
            mix.count(kind, messages)
        shift = mix.close_window(now)
        if shift is not None:
            shifts.append(shift)
    return shifts


def longest_alarm(shifts: list[float]) -> int:
    """Return how many windows in a row were worth a look at most."""
    longest = now = 0
    for shift in shifts:
        now = now + 1 if shift > WORTH_A_LOOK else 0
        longest = max(longest, now)
    return longest


def market(rng: random.Random, books: float, trades: float) -> Callable[[float], Counts]:
    """Books at a steady rate, trades at one that varies 100-fold, by the hour and by chance."""
    mood = 0.0

    def counts_at(now: float) -> Counts:
        nonlocal mood
        mood += -mood / 60 + 0.6 * math.sqrt(2 / 60) * rng.gauss(0, 1)
        mean = 30 * trades * math.exp(1.2 * math.sin(2 * math.pi * now / DAY_S) + mood)
        return {
            "orderbook": round(30 * books),
            "trade": max(0, round(rng.gauss(mean, math.sqrt(mean)))),
        }

    return counts_at


@pytest.mark.parametrize(
    ("books", "trades"), [(10, 1), (10, 10), (100, 5), (2, 0.05), (0.2, 0.2), (50, 50)]
)
def test_quiet_and_busy_times_are_usual(books: float, trades: float) -> None:
    """In three weeks of a lively market no shift lasts long enough to wake anybody."""
    for seed in range(3):
        shifts = judge(7 * DAY_S, market(random.Random(seed), books, trades))
        assert len(shifts) > 200
        assert longest_alarm(shifts) < 4


def after(start_s: float, before: Counts, then: Counts) -> Callable[[float], Counts]:
    """Return counts that change at `start_s`."""
    return lambda now: before if now <= start_s else then


USUAL = {"orderbook": 300, "trade": 60, "Heartbeat": 30}


@pytest.mark.parametrize(
    "then",
    [
        {"orderbook": 300, "Heartbeat": 30},
        {"orderbook": 300, "trade": 60},
        {**USUAL, "unparsed": 12},
        {"unparsed": 390},
        {**USUAL, "orderbook": 3},
    ],
    ids=["no trades", "no heartbeats", "something new", "all unparsed", "few books"],
)
def test_a_change_is_told(then: Counts) -> None:
    """A kind that is missing or new is worth a look in the next window, and for 25 minutes."""
    shifts = judge(2 * LEARNED_S, after(LEARNED_S, USUAL, then))
    assert max(shifts[:WINDOWS_TO_LEARN]) == 0
    assert min(shifts[WINDOWS_TO_LEARN : WINDOWS_TO_LEARN + 5]) > WORTH_A_LOOK
    assert max(shifts) <= 1


def test_a_change_that_lasts_becomes_usual() -> None:
    """Within a day the new mix is how things are, and the old one would be news."""
    without = {"orderbook": 300, "Heartbeat": 30}
    shifts = judge(LEARNED_S + DAY_S, after(LEARNED_S, USUAL, without))
    assert shifts[WINDOWS_TO_LEARN] > WORTH_A_LOOK
    assert shifts[-1] == 0


def test_nothing_is_told_while_learning() -> None:
    """In the first hour whatever comes is taken for usual."""
    shifts = judge(LEARNED_S, after(LEARNED_S / 2, USUAL, {"trade": 100}))
    assert shifts == [0.0] * WINDOWS_TO_LEARN


def test_small_windows_wait() -> None:
    """A window with too few messages goes on until it has enough."""
    mix = Mix(0)
    mix.count("trade", LEAST_MESSAGES - 1)
    assert mix.close_window(10 * WINDOW_S) is None
    mix.count("trade", 1)
    assert mix.close_window(10 * WINDOW_S) == 0
    mix.count("trade", LEAST_MESSAGES)
    assert mix.close_window(11 * WINDOW_S - 1) is None
    assert mix.close_window(11 * WINDOW_S) == 0


def test_chance_is_no_shift() -> None:
    """A rare kind that happens to be absent from a small window is not missing."""
    rare = {"orderbook": 99, "trade": 1}
    absent = {"orderbook": 100}
    shifts = judge(2 * LEARNED_S, after(LEARNED_S, rare, absent), step_s=30)
    assert longest_alarm(shifts) == 0


def shift_of(mix: Mix, now: float, **counts: int) -> float | None:
    """Return the shift of a window that ends at `now` and held `counts`."""
    for kind, messages in counts.items():
        mix.count(kind, messages)
    return mix.close_window(now)


def test_a_new_kind_weighs_the_root_of_its_share() -> None:
    """36 % of all are 0.6, less four standard errors of 10,000 messages: 0.02."""
    mix = Mix(1000)
    for window in range(1, WINDOWS_TO_LEARN + 1):
        assert shift_of(mix, 1000 + window * WINDOW_S, orderbook=10_000) == 0
    now = 1000 + (WINDOWS_TO_LEARN + 1) * WINDOW_S
    assert shift_of(mix, now, orderbook=6400, odd=3600) == pytest.approx(0.58)


def test_an_edge_that_is_not_reached_comes_back_by_half_in_a_week() -> None:
    """Trades of 20 % were seen once, in the first window; then 5 %. A week later 12.5 % are usual."""
    mix, now = Mix(1000), 1000 + WINDOW_S
    shift_of(mix, now, orderbook=8000, trade=2000)
    for _ in range(WINDOWS_TO_LEARN - 1 + round(7 * DAY_S / WINDOW_S)):
        now += WINDOW_S
        assert shift_of(mix, now, orderbook=9500, trade=500) == 0
    usual = math.sqrt(0.3)  # 12.5 % with three times the odds
    shift = shift_of(mix, now + WINDOW_S, orderbook=5000, trade=5000)
    assert shift == pytest.approx(math.sqrt(0.5) - usual - 0.02, abs=1e-4)


def test_each_window_counts_anew() -> None:
    """What came in one window does not make the next one large enough."""
    mix = Mix(1000)
    assert shift_of(mix, 1000 + WINDOW_S, trade=LEAST_MESSAGES) == 0
    assert shift_of(mix, 1000 + 2 * WINDOW_S, trade=LEAST_MESSAGES - 1) is None
    assert shift_of(mix, 1000 + 2 * WINDOW_S, trade=1) == 0
