"""How many bytes may be on their way from the sockets to the journals.

Feeds acquire before they send a batch, the writer releases when its rows are in a journal. When
the budget is spent feeds wait, stop reading, and TCP slows the exchange down: memory is bounded
and nothing is dropped.
"""

from collections import OrderedDict

import trio

from trio_collector.telemetry import metrics


class ByteBudget:
    """A number of bytes that tasks share; waiting tasks are served in the order they came."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._waiting: OrderedDict[trio.Event, int] = OrderedDict()

    async def acquire(self, size_bytes: int) -> None:
        """Take `size_bytes`, waiting until they fit.

        More than the whole budget is granted once nothing else is in flight. Cancelling a call
        that waits takes nothing.
        """
        if self.acquire_nowait(size_bytes):
            return
        turn = trio.Event()
        self._waiting[turn] = size_bytes
        started = trio.current_time()
        try:
            await turn.wait()
        except trio.Cancelled:
            if turn.is_set():
                self.release(size_bytes)
            else:
                del self._waiting[turn]
                self._serve()
            raise
        finally:
            metrics.inflight_wait_seconds.inc(trio.current_time() - started)

    def acquire_nowait(self, size_bytes: int) -> bool:
        """Take `size_bytes` if they fit and nobody waits; return whether that is so."""
        if self._waiting or not self._fits(size_bytes):
            return False
        self._take(size_bytes)
        return True

    def release(self, size_bytes: int) -> None:
        """Give `size_bytes` back and wake whoever fits now."""
        self.used_bytes -= size_bytes
        metrics.inflight_bytes.set(self.used_bytes)
        self._serve()

    def _fits(self, size_bytes: int) -> bool:
        return self.used_bytes == 0 or self.used_bytes + size_bytes <= self.limit_bytes

    def _take(self, size_bytes: int) -> None:
        self.used_bytes += size_bytes
        metrics.inflight_bytes.set(self.used_bytes)

    def _serve(self) -> None:
        while self._waiting:
            turn, size_bytes = next(iter(self._waiting.items()))
            if not self._fits(size_bytes):
                return
            del self._waiting[turn]
            self._take(size_bytes)
            turn.set()
