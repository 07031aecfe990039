"""Requests leave in their order, when the exchange allows it, and only while they are needed."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.virtual_time import elapsed_s
from trio_collector.events import Ack, DataType, Topic
from trio_collector.exchanges.adapter import Limits, Rate, SubscribeRequest
from trio_collector.feed.limits.exchange_limits import ExchangeLimits
from trio_collector.feed.requests import RequestQueue
from trio_collector.feed.subscriptions import Subscriptions

FREE = Limits(connects=(), topics_per_connection=100)
TOGETHER = FREE._replace(requests_together=Rate(1, 10.0))  # with the slack: one each 11 s


def _request(symbol: str, request_id: str | None = None) -> SubscribeRequest:
    return SubscribeRequest(request_id, f"sub {symbol}", (Topic(symbol, DataType.TRADE),))


BTC, ETH, SOL = (_request(symbol, symbol) for symbol in ("btc", "eth", "sol"))


class Queue:
    """The requests of one session, and what it has asked for."""

    def __init__(self, limits: Limits) -> None:
        self.subscriptions = Subscriptions(sends_acks=True)
        self.exchange_limits = ExchangeLimits(limits)
        self.requests = RequestQueue(self.subscriptions, limits, self.exchange_limits)
        self.sent: list[tuple[float, str]] = []

    async def run(self) -> None:
        while True:
            request = await self.requests.wait_next()
            self.subscriptions.record_request(request, trio.current_time())
            self.sent.append((elapsed_s(), request.text))

    async def run_for(self, seconds: float) -> list[tuple[float, str]]:
        with trio.move_on_after(seconds):
            await self.run()
        return self.sent


async def test_first_requests_are_covered_by_the_turn_to_connect(
    autojump_clock: MockClock,
) -> None:
    """What is asked first waits for no further turn; what is added later does, each time."""
    queue = Queue(TOGETHER)
    await queue.exchange_limits.wait_to_connect(0.0, 1)
    queue.requests.start([BTC])
    queue.requests.add(ETH)
    queue.requests.add(SOL)
    assert await queue.run_for(100) == [
        (0, "sub btc"),
        (pytest.approx(11), "sub eth"),
        (pytest.approx(22), "sub sol"),
    ]


async def test_each_of_the_first_requests_is_covered(autojump_clock: MockClock) -> None:
    """However many they are, none of them takes a turn of its own."""
    queue = Queue(TOGETHER)
    queue.requests.start([BTC, ETH])
    assert await queue.run_for(100) == [(0, "sub btc"), (0, "sub eth")]


async def test_a_connection_keeps_to_its_own_limit(autojump_clock: MockClock) -> None:
    """The first requests as well as later ones."""
    queue = Queue(FREE._replace(requests=Rate(1, 2.0)))
    queue.requests.start([BTC, ETH])
    queue.requests.add(SOL)
    assert await queue.run_for(100) == [(0, "sub btc"), (2, "sub eth"), (4, "sub sol")]


async def test_what_became_needless_is_left_out(autojump_clock: MockClock) -> None:
    """A topic that is granted before its turn is not asked for, and costs no turn."""
    queue = Queue(TOGETHER)
    queue.subscriptions.record_request(BTC, 0)
    queue.subscriptions.grant(Ack("btc"))
    for request in (BTC, ETH):
        queue.requests.add(request)
    assert await queue.run_for(100) == [(0, "sub eth")]


async def test_answers_without_names_are_waited_for(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """The next request leaves when the one before is answered, and no sooner."""
    queue = Queue(FREE)
    btc, eth = _request("btc"), _request("eth")
    queue.requests.start([btc, eth])
    nursery.start_soon(queue.run)
    await wait_all_tasks_blocked()
    await trio.sleep(5)
    queue.requests.wake()  # to something else
    await trio.sleep(5)
    assert queue.sent == [(0, "sub btc")]
    queue.subscriptions.grant(Ack(topics=btc.topics))
    queue.requests.wake()
    await wait_all_tasks_blocked()
    assert queue.sent == [(0, "sub btc"), (10, "sub eth")]
    nursery.cancel_scope.cancel()
