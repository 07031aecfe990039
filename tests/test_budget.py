"""Bytes in flight are bounded, and whoever waits is served in turn."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_collector.budget import ByteBudget
from trio_collector.telemetry import metrics


class Feeds:
    """Tasks that want bytes of one budget; `served` are those that have them, in order."""

    def __init__(self, budget: ByteBudget, nursery: trio.Nursery) -> None:
        self.served: list[str] = []
        self.scopes: dict[str, trio.CancelScope] = {}
        self._budget = budget
        self._nursery = nursery

    async def ask(self, name: str, size_bytes: int) -> None:
        """Start a feed that acquires, and see it served or waiting."""
        self.scopes[name] = trio.CancelScope()
        self._nursery.start_soon(self._acquire, name, size_bytes)
        await wait_all_tasks_blocked()

    async def _acquire(self, name: str, size_bytes: int) -> None:
        with self.scopes[name]:
            await self._budget.acquire(size_bytes)
            self.served.append(name)


@pytest.fixture
def budget() -> ByteBudget:
    return ByteBudget(100)


@pytest.fixture
def feeds(budget: ByteBudget, nursery: trio.Nursery) -> Feeds:
    return Feeds(budget, nursery)


async def test_what_fits_does_not_wait(budget: ByteBudget, feeds: Feeds) -> None:
    """The whole budget can be taken at once, to the byte."""
    await feeds.ask("a", 60)
    await feeds.ask("b", 40)
    await feeds.ask("c", 1)
    assert feeds.served == ["a", "b"]
    assert budget.used_bytes == 100
    feeds.scopes["c"].cancel()


async def test_waiting_feeds_are_served_in_turn(budget: ByteBudget, feeds: Feeds) -> None:
    """A small request does not overtake a large one, which would starve it."""
    await feeds.ask("first", 90)
    await feeds.ask("large", 95)
    await feeds.ask("small", 10)
    assert feeds.served == ["first"]
    budget.release(90)
    await wait_all_tasks_blocked()
    assert feeds.served == ["first", "large"]
    budget.release(95)
    await wait_all_tasks_blocked()
    assert feeds.served == ["first", "large", "small"]
    assert budget.used_bytes == 10


async def test_one_release_serves_as_many_as_fit(budget: ByteBudget, feeds: Feeds) -> None:
    """Only what the released bytes hold is woken, and the rest keeps its place."""
    await feeds.ask("first", 100)
    for name in ("a", "b", "c"):
        await feeds.ask(name, 40)
    budget.release(100)
    await wait_all_tasks_blocked()
    assert set(feeds.served) == {"first", "a", "b"}  # woken at once, they run in any order
    budget.release(40)
    await wait_all_tasks_blocked()
    assert feeds.served[3:] == ["c"]


async def test_more_than_the_budget_is_granted_alone(budget: ByteBudget, feeds: Feeds) -> None:
    """A message larger than the budget waits for an empty one, and then has it to itself."""
    await feeds.ask("first", 10)
    await feeds.ask("huge", 1000)
    await feeds.ask("next", 10)
    assert feeds.served == ["first"]
    budget.release(10)
    await wait_all_tasks_blocked()
    assert feeds.served == ["first", "huge"]
    budget.release(1000)
    await wait_all_tasks_blocked()
    assert feeds.served == ["first", "huge", "next"]


async def test_cancelling_a_waiting_feed_lets_the_next_one_in(
    budget: ByteBudget, feeds: Feeds
) -> None:
    """A cancelled feed takes nothing and blocks nobody."""
    await feeds.ask("first", 60)
    await feeds.ask("large", 80)
    await feeds.ask("small", 40)
    feeds.scopes["large"].cancel()
    await wait_all_tasks_blocked()
    assert feeds.served == ["first", "small"]
    assert budget.used_bytes == 100


async def test_cancelling_gives_back_what_was_granted_meanwhile(
    budget: ByteBudget, feeds: Feeds
) -> None:
    """Bytes granted to a feed that is cancelled in the same moment go to the next one."""
    await feeds.ask("first", 100)
    await feeds.ask("cancelled", 100)
    await feeds.ask("next", 100)
    feeds.scopes["cancelled"].cancel()
    budget.release(100)
    await wait_all_tasks_blocked()
    assert feeds.served == ["first", "next"]
    assert budget.used_bytes == 100


async def test_cancelling_a_feed_behind_others_takes_nothing(
    budget: ByteBudget, feeds: Feeds
) -> None:
    """A feed that is cancelled before its turn gives nothing back, for it has nothing."""
    await feeds.ask("first", 100)
    await feeds.ask("second", 60)
    await feeds.ask("third", 60)
    feeds.scopes["third"].cancel()
    await wait_all_tasks_blocked()
    assert (feeds.served, budget.used_bytes) == (["first"], 100)
    budget.release(100)
    await wait_all_tasks_blocked()
    assert (feeds.served, budget.used_bytes) == (["first", "second"], 60)


async def test_waiting_time_is_counted(
    budget: ByteBudget, feeds: Feeds, autojump_clock: MockClock
) -> None:
    """The metric grows by the time a feed waited, cancelled or served, and by nothing else."""

    def waited() -> float:
        return metrics.REGISTRY.get_sample_value("collector_inflight_wait_seconds_total") or 0.0

    await trio.sleep(7)  # a clock at 0 would hide a wrong sign
    before = waited()
    await feeds.ask("first", 100)
    assert waited() == before
    await feeds.ask("served", 50)
    await feeds.ask("cancelled", 100)
    await trio.sleep(3)
    budget.release(100)
    await trio.sleep(2)
    feeds.scopes["cancelled"].cancel()
    await wait_all_tasks_blocked()
    assert waited() - before == pytest.approx(3 + 5)


async def test_used_bytes_are_shown(budget: ByteBudget, feeds: Feeds) -> None:
    """The gauge follows what is taken and given back."""
    await feeds.ask("a", 70)
    assert metrics.REGISTRY.get_sample_value("collector_inflight_bytes") == 70
    budget.release(70)
    assert metrics.REGISTRY.get_sample_value("collector_inflight_bytes") == 0
