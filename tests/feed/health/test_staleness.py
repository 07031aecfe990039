"""Silence of topics: when it is too long, that it is told once, and what ends it."""

import math

from hypothesis import given
from hypothesis import strategies as st

from trio_collector.events import DataType, Topic
from trio_collector.feed.health.adaptive_timeout import AdaptiveTimeout, FixedTimeout
from trio_collector.feed.health.staleness import Staleness, StaleTopic

BTC = Topic("btc", DataType.TRADE)
ETH = Topic("eth", DataType.TRADE)


def open_silence(topics: list[Topic], limit_s: float, now: float) -> Staleness:
    """Return the clocks of topics that may all be silent for `limit_s`."""
    return Staleness(topics, dict.fromkeys(topics, FixedTimeout(limit_s)), now)


def newly_stale(silence: Staleness, now: float) -> list[Topic]:
    return [stale.topic for stale in silence.expire(now)]


def test_a_topic_that_never_began_is_stale() -> None:
    """Silence counts from the start while there was no data."""
    silence = open_silence([BTC], 90, 1000)
    assert silence.next_deadline() == 1090
    assert newly_stale(silence, 1089) == []
    assert newly_stale(silence, 1090) == [BTC]


def test_a_silence_is_told_once() -> None:
    """A topic is newly stale once in each silence; data ends a silence."""
    silence = open_silence([BTC, ETH], 90, 0)
    silence.record_data(ETH, 60)
    assert newly_stale(silence, 100) == [BTC]
    assert newly_stale(silence, 110) == []
    silence.record_data(BTC, 120)
    assert newly_stale(silence, 210) == [BTC, ETH]


def test_total_silence() -> None:
    """Silence is total when every watched topic is stale."""
    silence = open_silence([BTC, ETH], 90, 0)
    silence.record_data(ETH, 60)
    newly_stale(silence, 90)
    assert not silence.are_all_stale()
    newly_stale(silence, 150)
    assert silence.are_all_stale()


def test_the_next_deadline_is_that_of_the_next_topic() -> None:
    """Stale topics have no deadline any more."""
    silence = open_silence([BTC, ETH], 90, 0)
    silence.record_data(ETH, 60)
    assert silence.next_deadline() == 90
    newly_stale(silence, 90)
    assert silence.next_deadline() == 150
    newly_stale(silence, 150)
    assert silence.next_deadline() == math.inf


def test_a_forgotten_topic_is_not_missed() -> None:
    """A refused topic neither becomes stale nor keeps silence from being total."""
    silence = open_silence([BTC, ETH], 90, 0)
    silence.forget(BTC)
    assert newly_stale(silence, 90) == [ETH]
    assert silence.are_all_stale()
    silence.record_data(BTC, 91)
    assert silence.are_all_stale()


def test_a_restart_counts_from_then_on() -> None:
    """The time before the connection was open is nobody's silence."""
    silence = open_silence([BTC], 90, 0)
    silence.restart(9)
    assert silence.next_deadline() == 99


def test_a_restart_counts_anew() -> None:
    """Every silence counts from the restart on."""
    silence = open_silence([BTC, ETH], 90, 0)
    silence.record_data(ETH, 50)
    silence.restart(130)
    assert silence.next_deadline() == 220


@given(st.floats(0, 1e9), st.floats(0.001, 1e5))
def test_at_the_deadline_a_topic_is_stale(start: float, limit_s: float) -> None:
    """Whatever is rounded: at `next_deadline` there is something to tell, so nobody waits in vain."""
    silence = open_silence([BTC], limit_s, start)
    silence.record_data(BTC, start)
    assert newly_stale(silence, silence.next_deadline()) == [BTC]


def test_stale_topics_are_told_with_their_limit() -> None:
    """Each has the limit of its own timeout; one that never began is told apart."""
    limits = {BTC: FixedTimeout(30), ETH: FixedTimeout(60)}
    silence = Staleness([BTC, ETH], limits, 0)
    silence.record_data(BTC, 20)
    assert silence.next_deadline() == 50
    assert silence.expire(60) == [StaleTopic(BTC, 30, True), StaleTopic(ETH, 60, False)]
    assert silence.expire(61) == []


def test_timeouts_learn_what_lies_between_data() -> None:
    """The time before the first data of a session is no silence."""
    timeout = AdaptiveTimeout(90)
    for session in range(3):
        start = 10_000.0 * session
        silence = Staleness([BTC], {BTC: timeout}, start)
        now = start + 80
        for _ in range(500):
            silence.record_data(BTC, now)
            now += 2
        assert newly_stale(silence, now) == []
    assert timeout.limit_s == 10


def test_timeouts_learn_of_verdicts() -> None:
    """A silence that was judged too long makes the next judgement more patient."""
    timeout = AdaptiveTimeout(90)
    for start, limit_s in ((0, 90), (100, 180), (300, 360)):
        silence = Staleness([BTC], {BTC: timeout}, start)
        assert silence.next_deadline() == start + limit_s
        assert newly_stale(silence, start + limit_s) == [BTC]


def test_silence_counts_from_the_request() -> None:
    """A topic that is asked for late has its time from then on; one that has data keeps its clock."""
    silence = open_silence([BTC, ETH], 90, 0)
    silence.record_data(BTC, 5)
    silence.record_request(BTC, 50)
    silence.record_request(ETH, 50)
    assert newly_stale(silence, 95) == [BTC]
    assert newly_stale(silence, 140) == [ETH]


def test_what_is_asked_for_again_opens_afresh() -> None:
    """The snapshot that follows a new request teaches nothing of the silence before it."""
    limits = {}
    for is_asked in (False, True):
        timeout = AdaptiveTimeout(90)
        silence, now = Staleness([BTC, ETH], {BTC: timeout, ETH: FixedTimeout(1e6)}, 0), 0.0
        for _death in range(2):
            for _ in range(1000):
                now += 1
                silence.record_data(BTC, now)
            now += 100
            assert newly_stale(silence, now) == [BTC]
            if is_asked:
                silence.record_request(BTC, now)
            silence.record_data(BTC, now + 1)
        for _ in range(1000):
            now += 1
            silence.record_data(BTC, now)
        limits[is_asked] = timeout.limit_s
    assert limits == {False: 303, True: 10}


def test_unknown_topics_are_not_watched() -> None:
    """Data that nobody asked for is no topic of the session."""
    silence = open_silence([BTC], 90, 0)
    silence.record_data(ETH, 10)
    assert newly_stale(silence, 90) == [BTC]
    assert silence.are_all_stale()


def test_the_first_data_may_take_longer() -> None:
    """A learned limit is for what lies between data; before the first there is half a minute."""
    silence = Staleness([BTC], {BTC: AdaptiveTimeout(10)}, 1000)
    assert silence.next_deadline() == 1030
    silence.record_data(BTC, 1001)
    assert silence.next_deadline() == 1011
    assert silence.expire(1011) == [StaleTopic(BTC, 10, True)]


def test_a_topic_that_is_not_watched_may_be_asked_for() -> None:
    """A request for it changes nothing."""
    silence = open_silence([BTC], 90, 0)
    silence.record_request(ETH, 10)
    assert silence.next_deadline() == 90


class Told(FixedTimeout):
    """A timeout of 90 s that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(90)
        self.calls: list[tuple[str, float, float]] = []

    def record_silence(self, silence_s: float, now: float) -> None:
        self.calls.append(("heard", silence_s, now))

    def record_first_data(self, silence_s: float, now: float) -> None:
        self.calls.append(("began", silence_s, now))

    def record_expiry(self, silence_s: float, now: float) -> None:
        self.calls.append(("missed", silence_s, now))


def test_a_timeout_is_told_of_silences_and_beginnings() -> None:
    """How long each was; what follows on a request, also on a second one, is a beginning."""
    timeout = Told()
    silence = Staleness([BTC], {BTC: timeout}, 1000)
    silence.record_data(BTC, 1007)
    silence.record_data(BTC, 1010)
    assert silence.expire(1101) == [StaleTopic(BTC, 90, True)]
    silence.record_request(BTC, 1102)
    silence.record_data(BTC, 1104)
    silence.record_data(BTC, 1105)
    assert timeout.calls == [
        ("began", 7, 1007),
        ("heard", 3, 1010),
        ("missed", 91, 1101),
        ("began", 2, 1104),
        ("heard", 1, 1105),
    ]
