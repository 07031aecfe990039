"""The writer's task: receive, and at the end leave nothing behind that is not sealed.

    receive ─▶ pending ─▶ flusher (journal thread) ─▶ sealer (seal thread) ─▶ bell

Receiving never waits for the disk. The order of the end: no more batches; all rows into journals;
all journals closed, then sealed; what sealing had to say in the ledger, written and sealed as well.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from trio_collector import clock, metrics
from trio_collector.budget import ByteBudget
from trio_collector.config import StorageSection
from trio_collector.events import Batch
from trio_collector.writer.disk import LOCAL_DISK, Disk
from trio_collector.writer.flusher import Flusher
from trio_collector.writer.guard import DiskState, Guard
from trio_collector.writer.journals import Journals
from trio_collector.writer.pending import Pending
from trio_collector.writer.recovery import find_files, plan_recovery
from trio_collector.writer.rotation import Limits
from trio_collector.writer.sealer import Sealer
from trio_collector.writer.segment import Place
from trio_collector.writer.worker import Worker, thread_worker


async def run_writer(
    storage: StorageSection,
    batches: trio.MemoryReceiveChannel[Batch],
    bell: trio.MemorySendChannel[None],
    budget: ByteBudget,
    *,
    server: str | None,
    now_us: Callable[[], int] = clock.now_us,
    disk: Disk = LOCAL_DISK,
    state: DiskState | None = None,
    new_worker: Callable[[], Worker] = thread_worker,
) -> None:
    """Write `batches` until they end, then seal everything, ring `bell` and return.

    Errors of the disk never come out: rows wait, or are shed and counted. `state` tells how it goes.
    The bell rings when a sealed file is ready; it is a hint, the files on disk are the queue.
    Cancelling loses the rows that are in memory; journals stay for the next start.
    """
    state = state if state is not None else DiskState()
    place = _place(storage, server)
    pending = Pending(storage.flush_interval_secs)
    journal_worker = new_worker()

    def report(row: Batch) -> None:
        flusher.add(row)

    sealer = Sealer(
        place,
        disk,
        new_worker(),
        state=state,
        ring=partial(_ring, bell),
        report=report,
        now_us=now_us,
    )
    flusher = Flusher(
        Journals(place, Limits(storage.max_file_age_secs, storage.max_file_bytes), disk),
        pending,
        Guard(storage.min_free_bytes, state),
        journal_worker,
        sync_interval_s=storage.sync_interval_secs,
        budget=budget,
        state=state,
        hand_on=sealer.add_closed,
        now_us=now_us,
    )
    with batches, bell:
        # Before the first journal of this process exists: what is found now is not ours.
        found = await journal_worker(partial(find_files, place.root))
        sealer.add_leftovers(plan_recovery(found))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sealer.run)
            await _collect(batches, flusher)
            sealer.end()
        await sealer.drain()
        if pending.rows:
            await flusher.drain()
            await sealer.drain()
        sealer.give_up()
        _ring(bell)


async def _collect(batches: trio.MemoryReceiveChannel[Batch], flusher: Flusher) -> None:
    """Receive until `batches` end; then all rows are in journals, and these are closed."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flusher.run)
        async for batch in batches:
            metrics.channel_queue_depth.set(batches.statistics().current_buffer_used)
            flusher.take(batch)
        flusher.end()
    await flusher.drain()


def _place(storage: StorageSection, server: str | None) -> Place:
    delivered = None if storage.mode == "s3" else Path(storage.local_path)
    return Place(Path(storage.data_dir), server or None, delivered)


def _ring(bell: trio.MemorySendChannel[None]) -> None:
    """Ring the bell, unless it rings already or nobody listens any more."""
    with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):
        bell.send_nowait(None)
