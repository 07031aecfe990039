"""The ways into threads: one for calls to the disk, one for hashing, which keeps a core busy.

All that delivery does to files goes through these two. A test that runs on a virtual clock brings
workers that do it at once, in no time. Only what waits for somebody else, such as a search for
credentials, has its own thread.
"""

from typing import NamedTuple

from trio_collector.worker import Worker, thread_worker

# SHA-256 makes 1.3 GB/s of a core, MD5 0.7; the loop and the writer want theirs.
HASHERS_AT_ONCE = 2


class Workers(NamedTuple):
    """One for each kind of work."""

    disk: Worker
    hashing: Worker


def thread_workers() -> Workers:
    """Return workers that use threads, for hashing at most `HASHERS_AT_ONCE`."""
    return Workers(thread_worker(None), thread_worker(HASHERS_AT_ONCE))
