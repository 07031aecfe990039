"""What a session asks its exchange for, at the rate that the exchange allows.

Requests wait here: for the answer to an earlier one, where the two could be mistaken for each other;
for the connection's own limit; and for the turn among all feeds, where the exchange counts messages
by address. The turn to connect covers what is asked first.
"""

import math
from collections.abc import Iterable

import trio

from trio_collector.exchanges.adapter import Limits, SubscribeRequest
from trio_collector.feed.limits.exchange_limits import ExchangeLimits
from trio_collector.feed.limits.rate_limiter import RateLimiter
from trio_collector.feed.subscriptions import Subscriptions


class RequestQueue:
    """The requests of one session that are still to be sent."""

    def __init__(
        self, subscriptions: Subscriptions, limits: Limits, exchange_limits: ExchangeLimits
    ) -> None:
        self._subscriptions = subscriptions
        self._limiter = RateLimiter([limits.requests] if limits.requests else [])
        self._exchange_limits = exchange_limits
        # Holds at most one request for each topic, and what the exchange wants to be sent back.
        self._to_send, self._requests = trio.open_memory_channel[SubscribeRequest](math.inf)
        self._covered = 0
        self._woken = trio.Event()

    def start(self, requests: Iterable[SubscribeRequest]) -> None:
        """Add what is asked first, which the turn to connect covers."""
        for request in requests:
            self._covered += 1
            self.add(request)

    def add(self, request: SubscribeRequest) -> None:
        """Let `request` be sent."""
        self._to_send.send_nowait(request)

    def wake(self) -> None:
        """Let the request that waits for an answer look again: one may have come."""
        self._woken.set()

    async def wait_next(self) -> SubscribeRequest:
        """Return the next request when it may be sent; what became needless is left out.

        Cancelled, it may have taken a request that is not sent.
        """
        while True:
            request = await self._requests.receive()
            while self._subscriptions.must_wait(request):
                self._woken = trio.Event()
                await self._woken.wait()
            if self._subscriptions.is_needed(request):
                await self._wait_for_limits()
                return request

    async def _wait_for_limits(self) -> None:
        if self._covered:
            self._covered -= 1
        else:
            await self._exchange_limits.wait_to_send()
        await trio.sleep(self._limiter.reserve(trio.current_time()))
