"""The way into threads, for what must not hold up the event loop: disk, hashing, Parquet."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Worker(Protocol):
    """Does a piece of work without holding up the event loop."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


def thread_worker(at_once: int | None = 1) -> Worker:
    """Return a worker that does so many pieces `at_once`, each in a thread; None: as trio limits.

    Cancelling waits for work that has begun: half of an append, or of a move, must not go on
    unseen.
    """
    limiter = None if at_once is None else trio.CapacityLimiter(at_once)

    async def run(work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=False)

    return run
