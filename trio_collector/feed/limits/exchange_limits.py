"""An exchange's limits, which all feeds of the process share: connects, requests, bans.

    await venue.connect_turn(lost_at, n)  then connect, and send n messages
    await venue.message_turn()            then send one more
    await venue.rest_turn(weight)         then ask by HTTP
    venue.ban(wait_s)                     it told one of us to go away; that holds for all

The order and the pace are those of `queue`. Here is the waiting alone: the first in the queue
sleeps until its time has come, the others until they are first.
"""

import trio

from trio_collector.exchanges.adapter import Limits
from trio_collector.feed.limits.rate_queue import RateQueue, Ticket, open_shared_limiter

# How long to stay away from an exchange that does not say for how long. Binance does; the limits
# of the others are of seconds.
UNNAMED_BAN_S = 30.0


class ExchangeLimits:
    """The limits of one exchange, and who waits for them."""

    def __init__(self, limits: Limits) -> None:
        together = open_shared_limiter(limits)
        self._connects = _Gate(RateQueue(limits.connects, together))
        self._messages = _Gate(RateQueue(shared=together))
        self._requests = _Gate(RateQueue([limits.rest_weight] if limits.rest_weight else []))

    async def connect_turn(self, lost_at: float, messages: int = 0) -> None:
        """Wait for the turn to connect; the oldest `lost_at` goes first.

        That is when the latest session, or attempt, ended: not the first, lest one who fails again
        and again goes before all others. The turn covers the first `messages` on the connection,
        which need not wait again. Cancelled, it has used nothing, and the next one goes on.
        """
        await self._connects.wait(self._connects.queue.ask(lost_at, shared=messages))

    async def message_turn(self) -> None:
        """Wait for the turn to send a message on a connection, in the order of asking.

        Where the exchange counts the messages of each connection alone, that is at once.
        Cancelled, it has used nothing, and the next one goes on.
        """
        await self._messages.wait(self._messages.queue.ask(shared=1))

    async def rest_turn(self, weight: int) -> None:
        """Wait for the turn to make an HTTP request of `weight`, in the order of asking.

        Cancelled, it has used nothing, and the next one goes on.
        """
        await self._requests.wait(self._requests.queue.ask(weight=weight))

    def ban(self, wait_s: float | None) -> float:
        """Let nobody connect or ask for `wait_s`, or half a minute; return for how long."""
        wait_s = UNNAMED_BAN_S if wait_s is None else wait_s
        until = trio.current_time() + wait_s
        for gate in (self._connects, self._messages, self._requests):
            gate.queue.close(until)
        return wait_s


class _Gate:
    """Those who wait for their turn, one at a time."""

    def __init__(self, queue: RateQueue) -> None:
        self.queue = queue
        self._waiting: dict[Ticket, trio.Event] = {}

    async def wait(self, ticket: Ticket) -> None:
        """Wait until `ticket` is taken; it has left the queue then, or if this is cancelled."""
        try:
            await trio.lowlevel.checkpoint()
            # Nothing is awaited between taking a turn and returning: it cannot get lost.
            while not self.queue.take(ticket, trio.current_time()):
                await self._sleep(ticket)
        except BaseException:
            self.queue.leave(ticket)
            raise
        finally:
            self._wake_first()

    async def _sleep(self, ticket: Ticket) -> None:
        """Sleep until the turn's time has come, or until it is first."""
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
