"""What a session asks its exchange for, sent at the rate that the exchange allows.

Requests wait here: for the answer to an earlier one, where the two could be mistaken for each other;
for the connection's own limit; and for the turn among all feeds, where the exchange counts messages
by address. The turn to connect covers what is asked first.
"""

import math
from collections.abc import Iterable

import trio
import trio_websocket

from trio_collector.exchanges.adapter import Limits, SubscribeRequest
from trio_collector.feed.limits.exchange_limits import ExchangeLimits
from trio_collector.feed.limits.rate_limiter import RateLimiter
from trio_collector.feed.monitor import SessionMonitor
from trio_collector.feed.wire.keepalive import send_message


class RequestSender:
    """The requests of one session."""

    def __init__(
        self, monitor: SessionMonitor, limits: Limits, exchange_limits: ExchangeLimits
    ) -> None:
        self._monitor = monitor
        self._limiter = RateLimiter([limits.requests] if limits.requests else [])
        self._exchange_limits = exchange_limits
        # Holds at most one request for each topic, and what the exchange wants to be sent back.
        self._to_send, self._requests = trio.open_memory_channel[SubscribeRequest](math.inf)
        self._turns_taken = 0
        self._judged = trio.Event()

    def start(self) -> None:
        """Ask for everything: the connection is open."""
        requests = self._monitor.start(trio.current_time())
        self._turns_taken = len(requests)
        self.add(requests)

    def add(self, requests: Iterable[SubscribeRequest]) -> None:
        """Let `requests` be sent, and those that wait look again: answers may have come."""
        for request in requests:
            self._to_send.send_nowait(request)
        self._judged.set()

    async def run(self, websocket: trio_websocket.WebSocketConnection) -> None:
        """Send until cancelled; raises SessionEnded if a request does not leave."""
        async for request in self._requests:
            while self._monitor.must_wait(request):
                self._judged = trio.Event()
                await self._judged.wait()
            if self._monitor.is_needed(request):
                await self._wait_turn()
                self._monitor.ask(request, trio.current_time())
                await send_message(websocket, request.text)
                self._monitor.sent(request, trio.current_time())

    async def _wait_turn(self) -> None:
        if self._turns_taken:
            self._turns_taken -= 1
        else:
            await self._exchange_limits.message_turn()
        await trio.sleep(self._limiter.reserve(trio.current_time()))
