"""The clock that silence is measured by stands still while nothing can be read."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.support.virtual_time import START_S, elapsed_s
from trio_collector.events import DataType, Topic
from trio_collector.exchanges.adapter import SubscribeRequest
from trio_collector.feed.health.adaptive_timeout import FixedTimeout
from trio_collector.feed.health.staleness import Staleness
from trio_collector.feed.listening_clock import ListeningClock
from trio_collector.feed.subscriptions import Subscriptions

BTC = Topic("btc", DataType.TRADE)
ETH = Topic("eth", DataType.TRADE)


def open_silence(topics: list[Topic], limit_s: float, now: float) -> Staleness:
    return Staleness(topics, dict.fromkeys(topics, FixedTimeout(limit_s)), now)


async def stand(clock: ListeningClock, pause_s: float) -> None:
    with clock.stopped():
        await trio.sleep(pause_s)


async def test_it_stands_still(autojump_clock: MockClock) -> None:
    """While it is stopped its time does not change, and goes on from there."""
    await trio.sleep(7)
    clock = ListeningClock()
    assert clock.now() == START_S + 7
    with clock.stopped():
        await trio.sleep(5)
        assert clock.now() == START_S + 7
        await trio.sleep(5)
    assert clock.now() == START_S + 7
    await trio.sleep(3)
    assert clock.now() == START_S + 10
    assert clock.trio_time(START_S + 12) == START_S + 22


async def test_what_passes_meanwhile_is_no_silence(autojump_clock: MockClock) -> None:
    """A stop counts for no silence that has begun, and for none that begins later."""
    clock = ListeningClock()
    silence = open_silence([BTC, ETH], 90, clock.now())
    await stand(clock, 30)
    await trio.sleep_until(START_S + 50)
    silence.record_data(ETH, clock.now())
    await trio.sleep_until(START_S + 119)
    assert silence.expire(clock.now()) == []
    assert clock.trio_time(silence.next_deadline()) == START_S + 120
    await trio.sleep_until(START_S + 120)
    assert [stale.topic for stale in silence.expire(clock.now())] == [BTC]
    assert clock.trio_time(silence.next_deadline()) == START_S + 140
    await trio.sleep_until(START_S + 130)
    silence.restart(clock.now())
    assert clock.trio_time(silence.next_deadline()) == START_S + 220


async def test_what_passes_meanwhile_is_no_wait_for_an_answer(autojump_clock: MockClock) -> None:
    """A request that was sent before a stop has as much more time for its answer."""
    clock = ListeningClock()
    state = Subscriptions(sends_acks=True)
    state.record_request(SubscribeRequest("1", "subscribe", (BTC,)), clock.now())
    await trio.sleep(10 - 1)
    await stand(clock, 1000)
    assert clock.trio_time(state.next_deadline(clock.now(), 10)) == START_S + 1010
    assert state.overdue(clock.now(), 10) == []
    await trio.sleep(1)
    assert state.overdue(clock.now(), 10) == [BTC]


async def test_waiting_goes_on_over_a_stop(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Whoever waits for a listening time waits longer by what the clock stood still."""
    clock = ListeningClock()
    nursery.start_soon(stand, clock, 4)
    assert await clock.sleep_until(lambda: START_S + 10) == START_S + 10
    assert elapsed_s() == 14


async def test_a_deadline_within_a_stop_comes_after_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """While the clock stands still nothing falls due; what was left to wait is waited after that."""
    clock = ListeningClock()

    async def stop_at_5() -> None:
        await trio.sleep(5)
        await stand(clock, 15)

    nursery.start_soon(stop_at_5)
    assert await clock.sleep_until(lambda: START_S + 10) == START_S + 10
    assert elapsed_s() == 25


async def test_a_deadline_may_move_on(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """What is waited for is looked at again when it seems to have come."""
    clock, due = ListeningClock(), [START_S + 5]

    async def put_off() -> None:
        await trio.sleep(3)
        due[0] = START_S + 8

    nursery.start_soon(put_off)
    assert await clock.sleep_until(lambda: due[0]) == START_S + 8


async def test_the_latest_sign(autojump_clock: MockClock) -> None:
    """Who could not be heard counts as heard, until right after."""
    clock = ListeningClock()
    await trio.sleep(5)
    assert clock.latest_sign(START_S + 2) == START_S + 2
    with clock.stopped():
        await trio.sleep(20)
        assert clock.latest_sign(START_S + 2) == START_S + 25
    await trio.sleep(1)
    assert clock.latest_sign(START_S + 2) == START_S + 25
    assert clock.latest_sign(START_S + 25.5) == START_S + 25.5
    assert clock.listening_time(START_S + 25.5) == START_S + 5.5


async def test_a_block_that_fails_leaves_it_running(autojump_clock: MockClock) -> None:
    """However a stop ends, time goes on."""
    clock = ListeningClock()
    with pytest.raises(KeyError):
        with clock.stopped():
            raise KeyError
    await trio.sleep(1)
    assert clock.now() == START_S + 1


@given(st.floats(0, 1e9), st.floats(0.001, 1e5), st.lists(st.floats(0, 1e4), max_size=3))
def test_at_the_deadline_a_topic_is_stale(
    start: float, limit_s: float, pauses: list[float]
) -> None:
    """Whatever is rounded: who waited for the deadline finds it passed, and never waits in vain."""

    async def wait() -> None:
        await trio.sleep(start)
        clock = ListeningClock()
        silence = open_silence([BTC], limit_s, clock.now())
        for pause_s in pauses:
            await stand(clock, pause_s)
        silence.record_data(BTC, clock.now())
        now = await clock.sleep_until(silence.next_deadline)
        assert [stale.topic for stale in silence.expire(now)] == [BTC]

    trio.run(wait, clock=MockClock(autojump_threshold=0))
