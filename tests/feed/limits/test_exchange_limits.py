"""Waiting for an exchange's limits: in order, at the pace, and safe to cancel."""

from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.virtual_time import elapsed_s
from trio_collector.exchanges.adapter import Limits, Rate
from trio_collector.feed.limits.exchange_limits import UNNAMED_BAN_S, ExchangeLimits

EVERY_SECOND = Limits((Rate(10, 10 / 1.1),), 100)  # with the slack: one each second
OKX = Limits((Rate(3, 1.0),), 100)


class Feeds:
    """Feeds that ask for their turn; `went` says who went, and when."""

    def __init__(self, exchange_limits: ExchangeLimits) -> None:
        self.exchange_limits = exchange_limits
        self.went: list[tuple[float, str]] = []

    async def connect(self, name: str, lost_at: float, messages: int = 0) -> None:
        with trio.fail_after(10_000):  # whoever is forgotten would wait for ever
            await self.exchange_limits.wait_to_connect(lost_at, messages)
        self.went.append((elapsed_s(), name))

    async def ask(self, name: str, weight: int) -> None:
        with trio.fail_after(10_000):
            await self.exchange_limits.wait_to_fetch(weight)
        self.went.append((elapsed_s(), name))

    @property
    def names(self) -> list[str]:
        return [name for _at, name in self.went]

    @property
    def times(self) -> list[float]:
        return [at for at, _name in self.went]


async def test_500_feeds_start(autojump_clock: MockClock) -> None:
    """All go, one after the other, three in 1.1 s."""
    feeds = Feeds(ExchangeLimits(OKX))
    async with trio.open_nursery() as nursery:
        for number in range(500):
            nursery.start_soon(feeds.connect, str(number), 0.0)
    assert len(set(feeds.names)) == 500
    assert feeds.times[-1] == pytest.approx(499 * 1.1 / 3)
    for first, fourth in zip(feeds.times, feeds.times[3:], strict=False):
        assert fourth - first > 1


async def test_the_oldest_loss_goes_first(autojump_clock: MockClock) -> None:
    """Feeds that are cut at once go in the order of their losses; a later ask may go before."""
    feeds = Feeds(ExchangeLimits(EVERY_SECOND))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feeds.connect, "started", 0.0)
        await wait_all_tasks_blocked()
        for name, lost_at in (("c", 3.0), ("b", 2.0), ("d", 4.0)):
            nursery.start_soon(feeds.connect, name, lost_at)
        await trio.sleep(0.5)
        nursery.start_soon(feeds.connect, "a", 1.0)
    assert feeds.went == [
        (0, "started"),
        *((pytest.approx(number), name) for number, name in enumerate("abcd", 1)),
    ]


@pytest.mark.parametrize("leaver", ["a", "b", "c"], ids=["first", "second", "last"])
async def test_who_is_cancelled_gives_its_turn_to_the_next(
    autojump_clock: MockClock, leaver: str
) -> None:
    """Nobody waits a second for a feed that has left, wherever it stood in the queue."""
    feeds = Feeds(ExchangeLimits(EVERY_SECOND))
    await feeds.connect("before", 0.0)
    scope = trio.CancelScope()

    async def leave() -> None:
        with scope:
            await feeds.connect(leaver, float("abc".index(leaver)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        for lost_at, name in enumerate("abc"):
            if name != leaver:
                nursery.start_soon(feeds.connect, name, float(lost_at))
        await trio.sleep(0.5)
        scope.cancel()
    assert feeds.names == ["before", *[name for name in "abc" if name != leaver]]
    assert feeds.times == pytest.approx([0, 1, 2])


async def test_cancelled_at_the_last_moment(autojump_clock: MockClock) -> None:
    """A feed whose turn comes as it is cancelled has used nothing."""
    feeds = Feeds(ExchangeLimits(EVERY_SECOND))
    await feeds.connect("before", 0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feeds.connect, "next", 2.0)
        with trio.move_on_at(1.0):
            await feeds.connect("late", 1.0)
    assert len(feeds.names) - feeds.names.count("late") == 2
    assert feeds.times[-1] == pytest.approx(len(feeds.names) - 1)


async def test_cancelled_before_it_began(autojump_clock: MockClock) -> None:
    """A feed that was cancelled before it asked leaves no place behind."""
    feeds = Feeds(ExchangeLimits(EVERY_SECOND))
    with trio.CancelScope() as scope:
        scope.cancel()
        await feeds.connect("never", 0.0)
    await feeds.connect("next", 1.0)
    assert feeds.went == [(0, "next")]


async def test_a_crowd_that_comes_and_goes(autojump_clock: MockClock) -> None:
    """Half of 200 feeds give up while they wait; the other half is done as if alone."""
    feeds = Feeds(ExchangeLimits(EVERY_SECOND))

    async def give_up(number: int) -> None:
        with trio.move_on_after(0.3):
            await feeds.connect("x", float(number))

    async with trio.open_nursery() as nursery:
        for number in range(200):
            if number % 2:
                nursery.start_soon(give_up, number)
            else:
                nursery.start_soon(feeds.connect, str(number), float(number))
    kept = [name for name in feeds.names if name != "x"]
    assert kept == sorted(kept, key=int)
    assert len(kept) == 100
    assert feeds.times[-1] == pytest.approx(len(feeds.names) - 1)


async def test_a_ban_holds_for_all(autojump_clock: MockClock) -> None:
    """Told to one, it stops who waits already, who comes later, and requests by HTTP."""
    feeds = Feeds(ExchangeLimits(EVERY_SECOND._replace(rest_weight=Rate(100, 1.0))))
    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(feeds.connect, name, 0.0)
        await trio.sleep(0.5)
        feeds.exchange_limits.ban(60)
        nursery.start_soon(feeds.connect, "c", 1.0)
        nursery.start_soon(feeds.ask, "http", 1)
    assert feeds.names[0] in "ab"
    assert feeds.times == pytest.approx([0, 60.5, 60.5, 61.5])


async def test_a_ban_without_an_end(autojump_clock: MockClock) -> None:
    """An exchange that bans and does not say for how long is left alone for half a minute."""
    feeds = Feeds(ExchangeLimits(EVERY_SECOND))
    feeds.exchange_limits.ban(None)
    await feeds.connect("a", 0.0)
    assert feeds.times == [UNNAMED_BAN_S]


async def test_requests_wait_for_weight(autojump_clock: MockClock) -> None:
    """HTTP requests go in the order of asking, within the weight of a minute; connects do not mind."""
    feeds = Feeds(ExchangeLimits(EVERY_SECOND._replace(rest_weight=Rate(100, 60.0))))
    async with trio.open_nursery() as nursery:
        for name, weight in (("a", 60), ("b", 60), ("c", 1)):
            nursery.start_soon(partial(feeds.ask, name, weight))
            await wait_all_tasks_blocked()
        nursery.start_soon(feeds.connect, "connect", 0.0)
    assert feeds.names == ["a", "connect", "b", "c"]
    assert feeds.times == pytest.approx([0, 0, 66, 66.1])


async def test_messages_of_all_connections(autojump_clock: MockClock) -> None:
    """A turn to connect covers its first messages; a later message waits for room beside them."""
    limits = Limits((), 100, requests_together=Rate(4, 10.0))
    feeds = Feeds(ExchangeLimits(limits))
    await feeds.connect("a", 0.0, 3)
    await feeds.exchange_limits.wait_to_send()
    assert elapsed_s() == 0
    await feeds.exchange_limits.wait_to_send()
    assert elapsed_s() == pytest.approx(11)


async def test_no_limit_is_no_wait(autojump_clock: MockClock) -> None:
    """Where the exchange names no limits, each turn comes at once."""
    exchange_limits = ExchangeLimits(Limits((), 100))
    for _ in range(100):
        await exchange_limits.wait_to_connect(0.0, 5)
        await exchange_limits.wait_to_send()
        await exchange_limits.wait_to_fetch(1000)
    assert elapsed_s() == 0
