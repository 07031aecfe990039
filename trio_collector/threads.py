"""Worker threads, for work that would block the event loop: disk, hashing, Parquet.

A test on a virtual clock uses workers that do the work at once, without a thread. What may wait for
another machine, such as a search for credentials, starts a thread of its own.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import trio

T = TypeVar("T")

# SHA-256 hashes 1.3 GB/s on a core, MD5 0.7. The event loop and the writer need the other cores.
HASHERS_AT_ONCE = 2


class Worker(Protocol):
    """Performs a piece of work without blocking the event loop."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


def thread_worker(at_once: int | None = 1) -> Worker:
    """Return a worker that performs up to `at_once` pieces at a time; None: up to trio's limit.

    Cancelling waits for work that has begun, because half of an append, or of a move, must not go
    on unobserved.
    """
    limiter = None if at_once is None else trio.CapacityLimiter(at_once)

    async def run(work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=False)

    return run


class Workers(NamedTuple):
    """The workers of delivery: one for calls to the disk, and one for hashing, which is bound by CPU."""

    disk: Worker
    hashing: Worker


def thread_workers() -> Workers:
    """Return workers that use threads, at most `HASHERS_AT_ONCE` of them for hashing."""
    return Workers(thread_worker(None), thread_worker(HASHERS_AT_ONCE))
