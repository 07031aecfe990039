"""What a topic's silences teach, by hand and in days of simulated arrivals.

The simulation lives the sessions of one topic: each silence that is judged too long ends the
session, and a second later the next one begins. Seeds are fixed, so each figure is what it is.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from trio_collector.events import DataType, Topic
from trio_collector.feed.health.adaptive_timeout import (
    CEILING_S,
    FIRST_DATA_S,
    FLOOR_S,
    MOST_CAUTION_S,
    AdaptiveTimeout,
    FixedTimeout,
)
from trio_collector.feed.health.staleness import Staleness

DAY_S = 86_400.0
BTC = Topic("btc", DataType.TRADE)
INITIAL_S = 90.0

Arrivals = Iterator[float]


def taught(*silences_s: float, start: float = 0.0) -> AdaptiveTimeout:
    """Return a rhythm that heard data after each of `silences_s`."""
    timeout, now = AdaptiveTimeout(INITIAL_S), start
    for silence_s in silences_s:
        now += silence_s
        timeout.record_silence(silence_s, now)
    return timeout


# By hand.


def test_nothing_is_known_at_first() -> None:
    """Before data, and after a little of it, the limit is the initial one."""
    assert AdaptiveTimeout(INITIAL_S).limit_s == INITIAL_S
    assert taught(*[0.1] * 50).limit_s == pytest.approx(INITIAL_S, abs=1)


def test_listening_makes_sure() -> None:
    """A second of the initial limit goes for each 8 of data; in 12 minutes it is as low as it gets."""
    assert taught(*[1.0] * 400).limit_s == pytest.approx(40, abs=2)
    assert taught(*[1.0] * 720).limit_s == FLOOR_S


def test_three_times_the_second_longest() -> None:
    """One extraordinary silence is an accident, two are a habit."""
    steady = [2.0] * 1000
    assert taught(*steady, 200.0, *steady).limit_s == FLOOR_S
    assert taught(*steady, 200.0, *steady, 150.0, *steady).limit_s == 450


def test_a_silence_that_data_ended_teaches_at_once() -> None:
    """The limit has grown before the next silence begins."""
    timeout = taught(*[1.0] * 1000)
    timeout.record_silence(40.0, 1040)
    timeout.record_silence(60.0, 1100)
    assert timeout.limit_s == 120


def test_what_is_long_ago_is_forgotten_but_for_this_hour_of_yesterday() -> None:
    """A quiet hour shapes the limit for the next five, and again around its time tomorrow."""
    quiet, busy = [30.0] * 120, [1.0] * 3600
    timeout, now, limits = AdaptiveTimeout(INITIAL_S), 0.0, []
    for hour in range(32):
        for silence_s in quiet if hour == 2 else busy:
            now += silence_s
            timeout.record_silence(silence_s, now)
        limits.append(timeout.limit_s)
    assert [hour for hour, limit_s in enumerate(limits) if limit_s > FLOOR_S] == [
        *range(2, 8),
        *range(23, 27),
    ]


def test_few_silences_are_judged_by_the_whole_day() -> None:
    """Where hours have a handful of silences, none of the day is forgotten."""
    assert taught(*[1200.0, 1200.0], *[600.0] * 60).limit_s == 3600


def test_each_verdict_doubles_the_limit() -> None:
    """A restart that brings nothing is followed by a more patient one, up to an hour."""
    timeout, now, limits = AdaptiveTimeout(INITIAL_S), 0.0, []
    for _ in range(8):
        now += timeout.limit_s
        timeout.record_expiry(timeout.limit_s, now)
        limits.append(timeout.limit_s)
    assert limits == [180, 360, 720, 1440, 2880, MOST_CAUTION_S, MOST_CAUTION_S, MOST_CAUTION_S]


def test_a_restart_that_helped_is_forgotten() -> None:
    """When data flows again as before, the limit is what it was: the next death is found as fast."""
    timeout = taught(*[1.0] * 1000)
    timeout.record_expiry(FLOOR_S, 1010)
    assert timeout.limit_s == 2 * FLOOR_S
    for second in range(1011, 1040):
        timeout.record_silence(1.0, second)
    assert timeout.limit_s == FLOOR_S


def test_a_silence_over_restarts_counts_once_as_a_whole() -> None:
    """Two outages in which no restart helped are a habit of this topic."""
    timeout, now = taught(*[1.0] * 1000), 1000.0
    for _outage in range(2):
        for _verdict in range(2):
            now += timeout.limit_s
            timeout.record_expiry(timeout.limit_s, now)
        for _ in range(600):
            now += 1
            timeout.record_silence(1.0, now)
    assert timeout.limit_s == 3 * (FLOOR_S + 2 * FLOOR_S)


def test_late_data_was_not_brought_by_the_restart() -> None:
    """Data long after a restart ends a silence that was there without it; data at once does not."""
    late, prompt = taught(*[1.0] * 1000), taught(*[1.0] * 1000)
    for timeout, first_s in ((late, 8.0), (prompt, 0.5)):
        for now in (1010.0, 2010.0):
            timeout.record_expiry(FLOOR_S, now)
            timeout.record_first_data(first_s, now + first_s)
            for second in range(600):
                timeout.record_silence(1.0, now + first_s + second)
    assert prompt.limit_s == FLOOR_S
    assert late.limit_s == 3 * (FLOOR_S + 8)


def test_no_limit_is_longer_than_six_hours() -> None:
    """A market that trades twice a day is looked after all the same."""
    assert taught(*[12 * 3600.0] * 6).limit_s == CEILING_S


def test_a_session_may_begin_slowly() -> None:
    """Before its first data a topic has half a minute, however busy it usually is."""
    timeout = taught(*[1.0] * 1000)
    assert (timeout.limit_s, timeout.first_limit_s) == (FLOOR_S, FIRST_DATA_S)
    assert AdaptiveTimeout(INITIAL_S).first_limit_s == INITIAL_S


def test_a_limit_that_is_set_stays() -> None:
    """Nothing is learned where the configuration says what counts."""
    timeout = FixedTimeout(5.0)
    for now in range(2000):
        timeout.record_silence(1.0, now)
    timeout.record_expiry(5.0, 2005)
    timeout.record_first_data(60.0, 2065)
    assert timeout.limit_s == timeout.first_limit_s == 5.0


# Days of arrivals.


def poisson(rng: random.Random, rate: float) -> Arrivals:
    return itertools.accumulate(iter(lambda: rng.expovariate(rate), None))


def daily(rng: random.Random, rate: float, ratio: float) -> Arrivals:
    """Arrivals whose rate follows the day; at its best hour it is `ratio` times that of the worst."""
    swing = math.log(ratio) / 2
    top = rate * math.exp(swing)
    for now in poisson(rng, top):
        if rng.random() * top <= rate * math.exp(swing * math.sin(2 * math.pi * now / DAY_S)):
            yield now


def nightly(rng: random.Random, day: float, night: float) -> Arrivals:
    """Twelve hours at one rate, twelve at the other, from one moment to the next."""
    for now in poisson(rng, day):
        if now % DAY_S < DAY_S / 2 or rng.random() <= night / day:
            yield now


def hawkes(rng: random.Random, rate: float, branching: float, decay: float) -> Arrivals:
    """Arrivals of which each draws others, as trades do."""
    now, excited = 0.0, 0.0
    while True:
        bound = rate * (1 - branching) + excited
        wait_s = rng.expovariate(bound)
        now += wait_s
        excited *= math.exp(-decay * wait_s)
        if rng.random() * bound <= rate * (1 - branching) + excited:
            excited += branching * decay
            yield now


def stretched(rng: random.Random, rate: float, shape: float = 0.4) -> Arrivals:
    """Bursts and long pauses: Weibull silences, whose tail is heavier than an exponential one."""
    scale = 1 / rate / math.gamma(1 + 1 / shape)
    return itertools.accumulate(iter(lambda: rng.weibullvariate(scale, shape), None))


def pausing(rng: random.Random, rate: float, on_s: float, off_s: float) -> Arrivals:
    """A steady stream that pauses now and then."""
    now = 0.0
    while True:
        end = now + rng.expovariate(1 / on_s)
        while (now := now + rng.expovariate(rate)) < end:
            yield now
        now = end + rng.expovariate(1 / off_s)


class Life(NamedTuple):
    """What became of a topic: alarms on each day that were false, and times to find deaths."""

    false_alarms: list[int]
    found_after_s: list[float]


def live(
    arrivals: Arrivals, days: int, *, deaths: tuple[float, ...] = (), opens_with_snapshot: bool
) -> Life:
    """Live the sessions of one topic; at each of `deaths` its session goes silent for good."""
    timeout = AdaptiveTimeout(INITIAL_S)
    silence = Staleness([BTC], {BTC: timeout}, 0)
    life = Life([0] * days, [])
    to_come, died_at, opened = list(deaths), math.inf, 0.0
    for now in arrivals:
        while (due := silence.next_deadline()) <= min(now, days * DAY_S):
            if to_come and to_come[0] <= due:
                died_at = to_come.pop(0)
            assert silence.expire(due)
            if died_at < due:
                life.found_after_s.append(due - died_at)
            else:
                life.false_alarms[int(due // DAY_S)] += 1
            died_at, opened = math.inf, due + 1
            silence = Staleness([BTC], {BTC: timeout}, opened)
            if opens_with_snapshot:
                silence.record_data(BTC, opened)
        if now > days * DAY_S:
            break
        if to_come and to_come[0] <= now:
            died_at = to_come.pop(0)
        if opened <= now < died_at:
            silence.record_data(BTC, now)
    return life


Process = Callable[[random.Random], Arrivals]

# Processes; the most false alarms on the first day, and on the three that follow together.
PROCESSES: dict[str, tuple[Process, int, int]] = {
    "one in 2 s": (lambda rng: poisson(rng, 0.5), 0, 0),
    "one in 10 s": (lambda rng: poisson(rng, 0.1), 0, 0),
    "one a minute": (lambda rng: poisson(rng, 1 / 60), 3, 0),
    "one in 10 minutes": (lambda rng: poisson(rng, 1 / 600), 5, 1),
    "one an hour": (lambda rng: poisson(rng, 1 / 3600), 9, 1),
    "a day and a night, 20 to 1": (lambda rng: daily(rng, 0.2, 20), 0, 0),
    "a day and a night, 50 to 1, quiet": (lambda rng: daily(rng, 1 / 60, 50), 2, 0),
    "night at once, 30 to 1": (lambda rng: nightly(rng, 0.5, 1 / 60), 3, 0),
    "trades that draw trades": (lambda rng: hawkes(rng, 0.3, 0.9, 1), 2, 0),
    "the same, one a minute": (lambda rng: hawkes(rng, 1 / 60, 0.9, 0.1), 5, 0),
    "bursts": (lambda rng: stretched(rng, 0.2), 4, 1),
    "bursts, one a minute": (lambda rng: stretched(rng, 1 / 60), 7, 3),
    "pauses of a minute": (lambda rng: pausing(rng, 0.5, 1200, 60), 6, 3),
    "half a minute, then ten of silence": (lambda rng: pausing(rng, 1, 30, 600), 5, 0),
}


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("opens_with_snapshot", [False, True], ids=["", "snapshot"])
def test_false_alarms_are_rare(name: str, *, opens_with_snapshot: bool) -> None:
    """Whatever the pace, there are a few false alarms while it is learned, and then hardly any."""
    process, most_at_first, most_later = PROCESSES[name]
    for seed in range(2):
        life = live(process(random.Random(seed)), 4, opens_with_snapshot=opens_with_snapshot)
        assert life.false_alarms[0] <= most_at_first
        assert sum(life.false_alarms[1:]) <= most_later


@pytest.mark.parametrize(
    ("rate", "soon_s"),
    [(5, FLOOR_S), (1, 35), (0.1, 260), (1 / 60, 1200)],
    ids=["5 a second", "1 a second", "1 in 10 s", "1 a minute"],
)
def test_death_is_found_by_the_pace(rate: float, soon_s: float) -> None:
    """A busy stream that dies is found within seconds, a slower one by its own measure."""
    deaths = tuple(DAY_S / 4 + 5000.0 * number for number in range(10))
    life = live(poisson(random.Random(1), rate), 1, deaths=deaths, opens_with_snapshot=False)
    assert len(life.found_after_s) == len(deaths)
    assert max(life.found_after_s) <= soon_s
    assert sum(life.false_alarms) <= 1


def test_a_busy_day_is_not_judged_by_the_night() -> None:
    """Death at the busiest hour is found in half a minute, at the quietest in minutes."""
    busiest, quietest = 1.25 * DAY_S, 1.75 * DAY_S
    arrivals = daily(random.Random(1), 1, 20)
    life = live(arrivals, 2, deaths=(busiest, quietest), opens_with_snapshot=False)
    at_best, at_worst = life.found_after_s
    assert at_best <= 30
    assert 60 <= at_worst <= 240
