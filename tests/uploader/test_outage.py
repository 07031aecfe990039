"""A store that is away for an hour, while the collector goes on sealing files."""

import base64
import contextlib
import hashlib
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio
from trio.testing import MockClock

from trio_collector.config import StorageSection
from trio_collector.errors import StoreUnavailable
from trio_collector.uploader.content import Content
from trio_collector.uploader.digest import Digest
from trio_collector.uploader.spool import SealedFile
from trio_collector.uploader.state import DeliveryState
from trio_collector.uploader.store import Stored
from trio_collector.uploader.task import run_uploader

FIRST_MS = 1_795_348_800_000
OUTAGE_S = 3600.0
SEAL_EVERY_S = 10.0
# Each file that waits is known by its path and its version; that is what an hour may add.
MOST_BYTES_PER_FILE = 4_000


class AwayStore:
    """A store that cannot be reached until `OUTAGE_S`, and remembers the order of what came."""

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.calls = 0

    def _reach(self) -> None:
        self.calls += 1
        if trio.current_time() < OUTAGE_S:
            raise StoreUnavailable("the connection is refused")

    async def ensure_bucket(self) -> None:
        self._reach()

    async def put(self, key: str, content: Content) -> Stored:
        self._reach()
        held = content.path.read_bytes()
        checksum = base64.b64encode(hashlib.sha256(held).digest()).decode()
        self.objects[key] = Stored(len(held), checksum, hashlib.md5(held).hexdigest())
        return self.objects[key]

    async def head(self, key: str) -> Stored | None:
        self._reach()
        return self.objects.get(key)

    async def fetch_digest(self, key: str, size: int) -> Digest:
        raise AssertionError("the checksum is enough")

    async def delete(self, key: str) -> None:
        raise AssertionError("only a probe deletes")


def files_in(spool: Path) -> int:
    return len(list(spool.rglob("*.parquet")))


async def test_an_hour_without_the_store(
    spool: Path, seal: Callable[..., SealedFile], autojump_clock: MockClock
) -> None:
    """Files wait on disk and cost next to no memory; then they are delivered oldest first."""
    storage = StorageSection(mode="s3", data_dir=str(spool), upload_concurrency=1)
    store, state = AwayStore(), DeliveryState()
    bell, rings = trio.open_memory_channel[None](1)
    sealed: list[str] = []
    sizes: list[int] = []
    tracemalloc.start()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(run_uploader, store=store, state=state), storage, rings)
            with bell:
                while trio.current_time() < OUTAGE_S:
                    sealed.append(str(seal(FIRST_MS + len(sealed), b"%d" % len(sealed)).key))
                    with contextlib.suppress(trio.WouldBlock):  # it rings already
                        bell.send_nowait(None)
                    await trio.sleep(SEAL_EVERY_S)
                    sizes.append(tracemalloc.get_traced_memory()[0])
                assert not store.objects
                assert state.is_store_down
                assert files_in(spool) == len(sealed)
    finally:
        tracemalloc.stop()
    assert list(store.objects) == sealed
    assert files_in(spool) == 0
    grown = sizes[-1] - sizes[len(sizes) // 10]
    assert grown < MOST_BYTES_PER_FILE * len(sealed), grown
