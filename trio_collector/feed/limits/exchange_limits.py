"""An exchange's limits, which all feeds of the process share: connects, requests, bans.

    await limits.wait_to_connect(lost_at, n)    then connect, and send n messages
    await limits.wait_to_send()                 then send one more
    await limits.wait_to_fetch(weight)          then make an HTTP request
    limits.ban(wait_s)                          it banned one of us, which applies to all

`rate_queue` decides on order and times. Only the waiting is here: the first in the queue sleeps
until its time has come, the others until they are first.
"""

import trio

from trio_collector.exchanges.adapter import Limits
from trio_collector.feed.limits.rate_queue import RateQueue, Ticket, open_shared_limiter

# How long a ban lasts if the exchange does not say. Binance says; the limits of the others are per
# second.
UNNAMED_BAN_S = 30.0


class ExchangeLimits:
    """The limits of one exchange, and the tasks that wait for them."""

    def __init__(self, limits: Limits) -> None:
        together = open_shared_limiter(limits)
        self._connects = _Gate(RateQueue(limits.connects, together))
        self._messages = _Gate(RateQueue(shared=together))
        self._requests = _Gate(RateQueue([limits.rest_weight] if limits.rest_weight else []))

    async def wait_to_connect(self, lost_at: float, messages: int = 0) -> None:
        """Wait until a connection may be opened; the oldest `lost_at` goes first.

        `lost_at` (trio time) is when the latest session or attempt ended. The first one would let a
        feed that keeps failing go before all others. The slot covers the first `messages` on the
        connection, which need not wait again. Cancelled, it has used nothing, and the next goes on.
        """
        await self._connects.wait(self._connects.queue.enter(lost_at, shared=messages))

    async def wait_to_send(self) -> None:
        """Wait until a message may be sent on a connection; first come, first served.

        Returns at once where the exchange counts the messages of each connection separately.
        Cancelled, it has used nothing, and the next goes on.
        """
        await self._messages.wait(self._messages.queue.enter(shared=1))

    async def wait_to_fetch(self, weight: int) -> None:
        """Wait until an HTTP request of `weight` may be made; first come, first served.

        Cancelled, it has used nothing, and the next goes on.
        """
        await self._requests.wait(self._requests.queue.enter(weight=weight))

    def ban(self, wait_s: float | None) -> float:
        """Stop connects, messages and requests for `wait_s`, UNNAMED_BAN_S if None; return how long."""
        wait_s = UNNAMED_BAN_S if wait_s is None else wait_s
        until = trio.current_time() + wait_s
        for gate in (self._connects, self._messages, self._requests):
            gate.queue.close(until)
        return wait_s


class _Gate:
    """The tasks that wait in one queue, let through one at a time."""

    def __init__(self, queue: RateQueue) -> None:
        self.queue = queue
        self._waiting: dict[Ticket, trio.Event] = {}

    async def wait(self, ticket: Ticket) -> None:
        """Wait until `ticket` is granted; granted or cancelled, it has left the queue."""
        try:
            await trio.lowlevel.checkpoint()
            # Nothing is awaited between the grant and the return, so a slot cannot get lost.
            while not self.queue.grant(ticket, trio.current_time()):
                await self._sleep(ticket)
        except BaseException:
            self.queue.leave(ticket)
            raise
        finally:
            self._wake_first()

    async def _sleep(self, ticket: Ticket) -> None:
        """Sleep until `ticket` is due, or until it is first."""
        due = self.queue.due(ticket, trio.current_time())
        is_first = self._waiting[ticket] = trio.Event()
        try:
            with trio.CancelScope(deadline=due):
                await is_first.wait()
        finally:
            del self._waiting[ticket]

    def _wake_first(self) -> None:
        first = self.queue.first
        if first is not None and first in self._waiting:
            self._waiting[first].set()
