"""The delivery of sealed files: from the spool to where they are kept.

The writer rings when a file is ready; what is to be done is read from the spool each time, oldest
first. A file that cannot be delivered stays where it is and is tried again, after 1, 2, 4 ...
300 seconds.
"""

import math
import random
from functools import partial
from pathlib import Path

import structlog
import trio

from trio_collector import metrics
from trio_collector.backoff import Backoff
from trio_collector.config import StorageSection
from trio_collector.uploader.archive import move_to_archive
from trio_collector.uploader.spool import SealedFile, find_sealed

log = structlog.get_logger(__name__)

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 300.0


async def run_uploader(storage: StorageSection, rings: trio.MemoryReceiveChannel[None]) -> None:
    """Deliver what is in the spool until `rings` ends, and what is in it then; closes `rings`.

    Cancelling it waits for the file that is being moved; it leaves no file in a state that the
    next start does not settle.
    """
    backoff = Backoff(FIRST_DELAY_S, LONGEST_DELAY_S, random.Random())
    async with rings:
        is_open = True
        while is_open:
            is_done = await _deliver_spool(storage)
            if is_done:
                backoff.reset()
            is_open = await _wait_ring(rings, None if is_done else backoff.next_delay())
        if not await _deliver_spool(storage):
            log.error("files left in the spool", data_dir=storage.data_dir)


async def _wait_ring(rings: trio.MemoryReceiveChannel[None], patience_s: float | None) -> bool:
    """Wait for a ring, or for `patience_s`; False when there will be no more rings."""
    with trio.move_on_after(math.inf if patience_s is None else patience_s):
        try:
            await rings.receive()
        except trio.EndOfChannel:
            return False
    return True


async def _deliver_spool(storage: StorageSection) -> bool:
    """Deliver each file in the spool; False if one had to stay."""
    data_dir, archive = Path(storage.data_dir), Path(storage.local_path)
    spool = await trio.to_thread.run_sync(find_sealed, data_dir)
    left = len(spool)
    metrics.upload_queue_depth.set(left)
    for sealed in spool:
        if await _deliver(sealed, archive):
            left -= 1
            metrics.upload_queue_depth.set(left)
    return left == 0


async def _deliver(sealed: SealedFile, archive: Path) -> bool:
    try:
        path = await trio.to_thread.run_sync(partial(move_to_archive, sealed, archive))
    except OSError as exc:
        log.error("file not moved", path=str(sealed.path), error=str(exc))  # noqa: TRY400 - no bug
        return False
    log.info("file archived", path=str(path))
    return True
