"""The way into a thread, one for each kind of disk work, so that a long seal delays no append."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Worker(Protocol):
    """Does one piece of work at a time, without holding up the event loop."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


def thread_worker() -> Worker:
    """Return a worker that uses a thread of its own.

    Cancelling waits for work that has begun: half of an append must not go on unseen.
    """
    limiter = trio.CapacityLimiter(1)

    async def run(work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=False)

    return run
