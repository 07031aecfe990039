"""The last step of a session's rows: to the writer, within the byte budget, in their order.

Rows that find room are sent at once, by a plain call. Rows that do not wait here, with all that
come after them, and a task sends them when there is room. Whoever reads for this session asks
`wait_room` before the next read, so that what waits stays small and TCP slows the exchange down.
"""

from collections import deque
from collections.abc import Callable, Iterable

import trio

from trio_collector.budget import ByteBudget
from trio_collector.events import Batch

# Reads whose rows may wait while reading goes on, so that pings between them are answered.
READS_WAITING = 16


class BatchSender:
    """Sends batches to the writer; `on_sent` is told of each that is on its way."""

    def __init__(
        self,
        to_writer: trio.MemorySendChannel[Batch],
        budget: ByteBudget,
        on_sent: Callable[[Batch], None],
    ) -> None:
        self._to_writer = to_writer
        self._budget = budget
        self._on_sent = on_sent
        self._waiting: deque[list[Batch]] = deque()  # the rows of one read each
        self._is_sending = False
        self._is_closed = False
        self._woken = trio.Event()  # for `run`: something waits, or nothing more comes
        self._moved = trio.Event()  # for those that wait: something was sent

    @property
    def has_room(self) -> bool:
        """Whether reading may go on."""
        return len(self._waiting) <= READS_WAITING

    def put(self, batches: Iterable[Batch]) -> None:
        """Send `batches`, or let them wait behind those that wait already; empty ones are left out."""
        left = deque(batch for batch in batches if batch.frames)
        if not self._waiting and not self._is_sending:
            while left and self._send_nowait(left[0]):
                left.popleft()
        if left:
            self._waiting.append(list(left))
            self._woken.set()

    async def run(self) -> None:
        """Send what waits until `close` was called and nothing is left.

        Cancelled, the batches that wait are lost, and the budget has their bytes.
        """
        while True:
            while self._waiting:
                await self._send_all(self._waiting.popleft())
                self._moved.set()
                self._moved = trio.Event()
            if self._is_closed:
                return
            self._woken = trio.Event()
            await self._woken.wait()

    async def wait_room(self) -> None:
        """Wait until reading may go on."""
        while not self.has_room:
            await self._moved.wait()

    async def wait_sent(self) -> None:
        """Wait until nothing waits."""
        while self._waiting or self._is_sending:
            await self._moved.wait()

    def close(self) -> None:
        """Let `run` return when everything is sent."""
        self._is_closed = True
        self._woken.set()

    async def _send_all(self, batches: list[Batch]) -> None:
        self._is_sending = True
        try:
            for batch in batches:
                await self._send(batch)
        finally:
            self._is_sending = False

    async def _send(self, batch: Batch) -> None:
        """Send `batch`, which the writer then gives back to the budget; nothing if cancelled."""
        await self._budget.acquire(batch.size_bytes)
        try:
            await self._to_writer.send(batch)
        except BaseException:
            self._budget.release(batch.size_bytes)
            raise
        self._on_sent(batch)

    def _send_nowait(self, batch: Batch) -> bool:
        """Send `batch` if there is room for it; return whether there was."""
        if not self._budget.acquire_nowait(batch.size_bytes):
            return False
        try:
            self._to_writer.send_nowait(batch)
        except BaseException as exc:
            self._budget.release(batch.size_bytes)
            if isinstance(exc, trio.WouldBlock):
                return False
            raise
        self._on_sent(batch)
        return True
