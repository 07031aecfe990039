"""Work that SIGTERM or SIGINT ends: the first signal asks it to stop, the second ends the process."""

import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import trio

from trio_collector.logs.setup import flush_logging

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

EXIT_KILLED = 1
FLUSH_S = 1.0


async def run_until_signal(work: Callable[[trio.Event], Awaitable[Result]]) -> Result:
    """Return what `work` returns; the event that it is given is set by the first signal."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, stop)
        result = await work(stop)
        nursery.cancel_scope.cancel()
    return result


async def _watch_signals(
    stop: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Set `stop` at the first signal; end the process at the second.

    The second does not wait for worker threads: the journals make a kill safe at any moment.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            name = signal.Signals(number).name
            if stop.is_set():
                log.warning("second signal, ending at once", signal=name)
                flush_logging(FLUSH_S)
                os._exit(EXIT_KILLED)
            log.info("signal received", signal=name)
            stop.set()
