"""The listening sockets: one for all exchanges, and one for each where they have their own.

A port can be closed for a time: nobody listens there, and the kernel refuses connects. Open
connections go on.
"""

import math
from collections.abc import Awaitable, Callable

import structlog
import trio

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

HOST = "127.0.0.1"
REOPEN_S = 0.05  # until the next attempt, when another process has taken the port

Serve = Callable[[trio.SocketStream, str], Awaitable[None]]


class Port:
    """The port of `exchange`, or with "" that of all; `number` 0 lets the system choose."""

    def __init__(self, exchange: str, number: int, serve: Serve) -> None:
        self.exchange = exchange
        self.number = number
        self._serve = serve
        self._closed_until_s = -math.inf
        self._listening = trio.CancelScope()

    def close(self, for_s: float) -> None:
        """Stop listening for `for_s`, which may be infinite."""
        self._closed_until_s = max(self._closed_until_s, trio.current_time() + for_s)
        self._listening.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Accept clients until cancelled; started when the port is open for the first time.

        Raises OSError if the port is taken then.
        """
        async with trio.open_nursery() as clients:
            listeners = await trio.open_tcp_listeners(self.number, host=HOST)
            self.number = listeners[0].socket.getsockname()[1]
            task_status.started()
            while True:
                self._listening = trio.CancelScope()
                with self._listening:
                    await trio.serve_listeners(self._accept, listeners, handler_nursery=clients)
                await trio.sleep_until(self._closed_until_s)
                listeners = await self._reopen()

    async def _reopen(self) -> list[trio.SocketListener]:
        while True:
            try:
                return await trio.open_tcp_listeners(self.number, host=HOST)
            except OSError as exc:
                log.warning("simulated port taken meanwhile", port=self.number, error=str(exc))
                await trio.sleep(REOPEN_S)

    async def _accept(self, stream: trio.SocketStream) -> None:
        await self._serve(stream, self.exchange)
