"""The writer's task: receive, and at the end leave nothing behind that is not sealed.

    receive ─▶ flusher (journal thread) ─▶ sealer (seal thread) ─▶ wake the uploader

Receiving never waits for the disk. The order at the end: no more batches; all rows into journals;
all journals closed, then sealed; the ledger rows of sealing written and sealed as well.
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
from trio_collector.events import Batch, Stream
from trio_collector.telemetry import metrics
from trio_collector.telemetry.storage_state import DiskState
from trio_collector.threads import Worker, thread_worker
from trio_collector.writer.context import WriterContext
from trio_collector.writer.flusher import Flusher
from trio_collector.writer.recovery import Leftovers, find_files, plan_recovery
from trio_collector.writer.sealer import Sealer
from trio_collector.writer.segment import Spool

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
    on_segment_start: Callable[[Stream, int], None] = lambda _stream, _first_us: None,
) -> None:
    """Write `batches` until they end, then seal everything, wake the uploader and return.

    Errors of the disk are never raised: rows wait, or are shed and counted. `state` shows them.
    `wake_uploader` is sent to when a sealed file is ready; it is a hint, for the files on disk are
    the queue. `on_segment_start` is called with the stream of each new segment and the time, in
    microseconds since the Unix epoch, at which its first row was received.
    Cancelling writes what is in memory to the journals, within LAST_FLUSH_S, and leaves these for
    the next start.
    """
    spool = _spool(storage, server)
    context = WriterContext(spool, disk, state if state is not None else DiskState(), now_us)
    wake = partial(_wake, wake_uploader)

    def report(row: Batch) -> None:
        flusher.add(row)

    sealer = Sealer(context, new_worker(), wake_uploader=wake, report=report)
    worker = new_worker()
    flusher = Flusher(
        context,
        storage,
        budget,
        worker=worker,
        on_closed=sealer.add_closed,
        on_segment_start=on_segment_start,
    )
    with batches, wake_uploader:
        # Before this process creates its first journal: what is found now is an earlier one's.
        sealer.add_leftovers(await worker(partial(_find_leftovers, spool, disk)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sealer.run)
            await _collect(batches, flusher)
            sealer.end()
        await sealer.drain()
        if flusher.has_rows:
            await flusher.drain()
            await sealer.drain()
        sealer.give_up()
        wake()


def _find_leftovers(spool: Spool, disk: Disk) -> Leftovers:
    """Return the segments in data_dir, which is created if it is absent."""
    try:
        make_folders(disk, spool.root, set())
    except OSError as exc:  # rows wait in memory then, and that is reported
        log.warning("data_dir cannot be created", path=str(spool.root), error=str(exc))
    return plan_recovery(find_files(spool.root))


async def _collect(batches: trio.MemoryReceiveChannel[Batch], flusher: Flusher) -> None:
    """Receive until `batches` end, then write all rows into journals and close these."""
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
    """Write what is in memory, because another task has failed or the drain is cut off."""
    with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
        while True:
            flusher.take(batches.receive_nowait())
    # Shielded because these rows are nowhere else. A sound disk needs a second at most.
    with trio.move_on_after(LAST_FLUSH_S, shield=True):
        await flusher.drain()


def _spool(storage: StorageSection, server: str | None) -> Spool:
    archive = None if storage.mode == "s3" else Path(storage.local_path)
    return Spool(Path(storage.data_dir), server or None, archive)


def _wake(uploader: trio.MemorySendChannel[None]) -> None:
    """Wake the uploader, unless a wake-up is waiting already or nobody listens any more."""
    with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):
        uploader.send_nowait(None)
