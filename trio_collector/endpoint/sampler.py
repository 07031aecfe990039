"""The sampler: one task samples the collector's state, and all visitors read its latest sample.

A visitor gets a status document that is at most FRESH_S old, so many visitors cost as much as a
few. Viewers of the page wait for the next sample; a slow viewer misses samples and delays no other.
"""

from collections.abc import Callable

import structlog
import trio

from trio_collector.endpoint.disk_size import measure_disk
from trio_collector.endpoint.responses import render_event
from trio_collector.endpoint.status_builder import Sources, build_status, with_histories
from trio_collector.telemetry.status_document import SAMPLE_S, SAMPLES, Status, StatusDocument

log = structlog.get_logger(__name__)

FRESH_S = 0.25
DISK_EVERY_S = 30.0  # the size of a filesystem seldom changes


class StatusSampler:
    """The latest status document, and the histories behind it."""

    def __init__(self, sources: Sources, now_us: Callable[[], int]) -> None:
        self._sources = sources
        self._now_us = now_us
        self._disk_total_bytes: int | None = None
        self._latest: StatusDocument | None = None
        self._built_at = 0.0
        self._status: Status | None = None  # of the latest sample
        self._sampled = trio.Event()
        self._event: bytes | None = None

    def document(self) -> StatusDocument:
        """Return the state of this moment, without histories."""
        now = trio.current_time()
        if self._latest is None or now - self._built_at > FRESH_S:
            self._latest = self._build()
            self._built_at = now
        return self._latest

    def document_with_histories(self, samples: int = SAMPLES) -> StatusDocument:
        """Return the state of this moment and the latest `samples` of the last minutes."""
        return with_histories(self.document(), self._sources.history, samples)

    def event(self) -> bytes:
        """Return the latest sample as an event, the same bytes for all viewers."""
        if self._event is None:
            self._event = render_event(self.document_with_histories(1))
        return self._event

    async def wait_sample(self) -> None:
        """Wait until the next sample has been taken."""
        await self._sampled.wait()

    async def run(self) -> None:
        """Take samples until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_disk)
            before = trio.current_time()
            while True:
                await trio.sleep_until(before + SAMPLE_S)
                now = trio.current_time()
                self._sample(now - before)
                before = now

    def _sample(self, elapsed_s: float) -> None:
        live = self._sources.live
        self._sources.history.sample(live.streams, live.disk.rows_dropped, elapsed_s)
        document = self._build()
        # A change of health is an event, which the document that showed it does not have yet.
        self._latest = None if self._report_change(document) else document
        self._built_at = trio.current_time()
        self._event = None
        sampled, self._sampled = self._sampled, trio.Event()
        sampled.set()

    def _build(self) -> StatusDocument:
        return build_status(self._sources, self._now_us(), self._disk_total_bytes)

    def _report_change(self, document: StatusDocument) -> bool:
        """Log a change of health and add it to the recent events; False if there is none."""
        status, before = document.health.status, self._status
        self._status = status
        if before in (None, status):
            return False
        reasons = [reason.text for reason in document.health.reasons]
        report = log.warning if status is Status.UNHEALTHY else log.info
        report("health changed", status=status, before=before, reasons=reasons)
        text = "; ".join(reasons) or f"was {before}"
        self._sources.live.recent_events.add("collector", status, document.now_us, text)
        return True

    async def _watch_disk(self) -> None:
        while True:
            # A disk that does not answer blocks this thread, and nothing that waits for it.
            self._disk_total_bytes = await trio.to_thread.run_sync(
                measure_disk, self._sources.storage.data_dir, abandon_on_cancel=True
            )
            await trio.sleep(DISK_EVERY_S)
