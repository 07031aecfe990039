"""The way of a session's rows to the writer, who may have no room for a while.

While rows wait nothing is read, and that must not be taken for the exchange's silence: whoever
measures silence asks here.
"""

from collections.abc import Callable, Iterable

import trio

from trio_collector.budget import ByteBudget
from trio_collector.events import Batch


class BatchSender:
    """Sends batches within `budget`; `on_wait` is told of each wait that is over, in seconds."""

    def __init__(
        self,
        to_writer: trio.MemorySendChannel[Batch],
        budget: ByteBudget,
        on_wait: Callable[[float], None],
    ) -> None:
        self._to_writer = to_writer
        self._budget = budget
        self._on_wait = on_wait
        self._has_room = trio.Event()  # set unless rows wait
        self._has_room.set()
        self._latest_wait = float("-inf")  # when rows had room again

    async def send(self, batches: Iterable[Batch]) -> None:
        """Send `batches` when there is room.

        Cancelled, the batch at hand and those behind it are lost. One task at a time may send.
        """
        started = trio.current_time()
        self._has_room = trio.Event()
        for batch in batches:
            await self._send(batch)
        self._latest_wait = trio.current_time()
        self._on_wait(self._latest_wait - started)
        self._has_room.set()

    async def _send(self, batch: Batch) -> None:
        """Send `batch`, which the writer then gives back to the budget; nothing if cancelled."""
        await self._budget.acquire(batch.size_bytes)
        try:
            await self._to_writer.send(batch)
        except BaseException:
            self._budget.release(batch.size_bytes)
            raise

    def latest_sign(self, latest_read: float) -> float:
        """Return when the exchange was last heard, or could not be heard for want of room."""
        if not self._has_room.is_set():
            return trio.current_time()
        return max(latest_read, self._latest_wait)

    async def wait_until(self, due: Callable[[], float]) -> None:
        """Wait until `due()`, which moves on, has come and no rows wait."""
        while True:
            await trio.sleep_until(due())
            await self._has_room.wait()
            if trio.current_time() >= due():
                return
