"""The endpoint's task: a sampler, and a server that shows what it has sampled."""

from collections.abc import Awaitable, Callable

import structlog
import trio

from trio_collector import clock
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import CollectorSection, StorageSection
from trio_collector.endpoint.history import History
from trio_collector.endpoint.routes import Routes
from trio_collector.endpoint.sampler import StatusSampler
from trio_collector.endpoint.server import Server
from trio_collector.endpoint.status_builder import Sources
from trio_collector.telemetry.live_state import LiveState

log = structlog.get_logger(__name__)

AFTER_BUG_S = 30.0


async def run_endpoint(
    section: CollectorSection,
    storage: StorageSection,
    live: LiveState,
    *,
    budget: ByteBudget | None = None,
    server: str = "",
    now_us: Callable[[], int] = clock.now_us,
    task_status: trio.TaskStatus[str | None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Show `live`, and the bytes that `budget` has granted, on `metrics_host:metrics_port` until cancelled.

    Started with the address of the page, or with None if the port cannot be opened now. That is an
    ERROR in the log, is tried again, and ends nothing: the data matters more than its display, and
    a probe of the port notices that nothing answers. Cancelling closes all connections at once.
    """
    budget = budget or ByteBudget(storage.max_inflight_bytes)
    sampler = StatusSampler(Sources(live, History(), budget, storage, server), now_us)
    shown = Server(section, Routes(sampler))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_keep_running, sampler.run)
        nursery.start_soon(shown.run)
        await shown.has_tried.wait()
        live.url = shown.url
        task_status.started(shown.url)


async def _keep_running(task: Callable[[], Awaitable[None]]) -> None:
    """Run `task` until cancelled, and again after a bug: the display must not end the collecting."""
    while True:
        try:
            await task()
        except Exception:
            log.exception("bug in the endpoint, it goes on")
            await trio.sleep(AFTER_BUG_S)
