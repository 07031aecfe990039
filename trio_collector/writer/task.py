"""The writer's task: receive, and at the end leave nothing behind that is not sealed.

    receive ─▶ pending ─▶ flusher (journal thread) ─▶ sealer (seal thread) ─▶ bell

Receiving never waits for the disk. The order of the end: no more batches; all rows into journals;
all journals closed, then sealed; what sealing had to say in the ledger, written and sealed as well.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
import trio

from trio_collector import clock
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import StorageSection
from trio_collector.disk import LOCAL_DISK, Disk, make_folders
from trio_collector.events import Batch
from trio_collector.feed.books.segment_starts import SegmentStarts
from trio_collector.telemetry import metrics
from trio_collector.telemetry.storage_state import DiskState
from trio_collector.threads import Worker, thread_worker
from trio_collector.writer.context import WriterContext
from trio_collector.writer.flusher import Flusher
from trio_collector.writer.recovery import RecoveryAction, find_files, plan_recovery
from trio_collector.writer.sealer import Sealer
from trio_collector.writer.segment import Folders

log = structlog.get_logger(__name__)

LAST_FLUSH_S = 5.0


async def run_writer(
    storage: StorageSection,
    batches: trio.MemoryReceiveChannel[Batch],
    wake_uploader: trio.MemorySendChannel[None],
    budget: ByteBudget,
    *,
    server: str | None,
    now_us: Callable[[], int] = clock.now_us,
    disk: Disk = LOCAL_DISK,
    state: DiskState | None = None,
    new_worker: Callable[[], Worker] = thread_worker,
    segment_starts: SegmentStarts | None = None,
) -> None:
    """Write `batches` until they end, then seal everything, ring `wake_uploader` and return.

    Errors of the disk never come out: rows wait, or are shed and counted. `state` tells how it goes.
    The bell rings when a sealed file is ready; it is a hint, the files on disk are the queue.
    `segment_starts` is told of each new segment.
    Cancelling writes what is in memory to the journals, within LAST_FLUSH_S, and leaves these for
    the next start.
    """
    folders = _folders(storage, server)
    context = WriterContext(folders, disk, state if state is not None else DiskState(), now_us)

    def report(row: Batch) -> None:
        flusher.add(row)

    sealer = Sealer(
        context, new_worker(), ring=partial(_wake_uploader, wake_uploader), report=report
    )
    worker = new_worker()
    flusher = Flusher(
        context,
        storage,
        budget,
        worker=worker,
        hand_on=sealer.add_closed,
        tell_begun=(segment_starts or SegmentStarts()).tell,
    )
    with batches, wake_uploader:
        # Before the first journal of this process exists: what is found now is not ours.
        sealer.add_leftovers(await worker(partial(_find_leftovers, folders, disk)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sealer.run)
            await _collect(batches, flusher)
            sealer.end()
        await sealer.drain()
        if flusher.has_rows:
            await flusher.drain()
            await sealer.drain()
        sealer.give_up()
        _wake_uploader(wake_uploader)


def _find_leftovers(folders: Folders, disk: Disk) -> list[RecoveryAction]:
    """Return what is to be done about the files in data_dir, which is created if it is absent."""
    try:
        make_folders(disk, folders.root, set())
    except OSError as exc:  # rows will wait in memory, and be heard of
        log.warning("data_dir cannot be created", path=str(folders.root), error=str(exc))
    return plan_recovery(find_files(folders.root))


async def _collect(batches: trio.MemoryReceiveChannel[Batch], flusher: Flusher) -> None:
    """Receive until `batches` end; then all rows are in journals, and these are closed."""
    is_drained = False
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flusher.run)
            async for batch in batches:
                metrics.channel_queue_depth.set(batches.statistics().current_buffer_used)
                flusher.take(batch)
            flusher.end()
        await flusher.drain()
        is_drained = True
    finally:
        if not is_drained:
            await _rescue(batches, flusher)


async def _rescue(batches: trio.MemoryReceiveChannel[Batch], flusher: Flusher) -> None:
    """Write what is in memory, because something else has failed or the drain is cut off."""
    with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
        while True:
            flusher.take(batches.receive_nowait())
    # Shielded, for these rows are nowhere else. A disk that is well needs a second at most.
    with trio.move_on_after(LAST_FLUSH_S, shield=True):
        await flusher.drain()


def _folders(storage: StorageSection, server: str | None) -> Folders:
    delivered = None if storage.mode == "s3" else Path(storage.local_path)
    return Folders(Path(storage.data_dir), server or None, delivered)


def _wake_uploader(wake_uploader: trio.MemorySendChannel[None]) -> None:
    """Ring the bell, unless it rings already or nobody listens any more."""
    with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):
        wake_uploader.send_nowait(None)
