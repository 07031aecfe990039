"""The way into threads, for what must not hold up the event loop: disk, hashing, Parquet.

A test that runs on a virtual clock brings workers that do it at once, in no time. What waits for
somebody else, such as a search for credentials, has a thread of its own.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import trio

T = TypeVar("T")

# SHA-256 makes 1.3 GB/s of a core, MD5 0.7; the loop and the writer want theirs.
HASHERS_AT_ONCE = 2


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


class Workers(NamedTuple):
    """The workers of delivery: one for calls to the disk, one for hashing, which keeps a core busy."""

    disk: Worker
    hashing: Worker


def thread_workers() -> Workers:
    """Return workers that use threads, for hashing at most `HASHERS_AT_ONCE`."""
    return Workers(thread_worker(None), thread_worker(HASHERS_AT_ONCE))
