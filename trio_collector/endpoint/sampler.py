"""The board on which the collector's state is posted: sampled by one task, read by everybody.

Whoever asks for a snapshot gets one that is at most FRESH_S old, so that many who ask cost as much
as a few. Viewers wait for the next sample; who is slow misses some and holds nobody up.
"""

from collections.abc import Callable

import structlog
import trio

from trio_collector.endpoint.history import History
from trio_collector.endpoint.responses import render_event
from trio_collector.endpoint.status_builder import Deployment, build_status, with_histories
from trio_collector.endpoint.totals import Totals, measure_disk, read_totals
from trio_collector.telemetry.live_state import LiveState
from trio_collector.telemetry.status_document import SAMPLE_S, SAMPLES, Status, StatusDocument

log = structlog.get_logger(__name__)

FRESH_S = 0.25
DISK_EVERY_S = 30.0  # the size of a filesystem seldom changes


class StatusSampler:
    """The latest snapshot, and the histories behind it."""

    def __init__(self, live: LiveState, place: Deployment, now_us: Callable[[], int]) -> None:
        self._live = live
        self._place = place
        self._now_us = now_us
        self._history = History()
        self._disk_total_bytes: int | None = None
        self._latest: StatusDocument | None = None
        self._taken_at = 0.0
        self._status: Status | None = None
        self._sampled = trio.Event()
        self._event: bytes | None = None

    def snapshot(self) -> StatusDocument:
        """Return the state of this moment, without histories."""
        now = trio.current_time()
        if self._latest is None or now - self._taken_at > FRESH_S:
            self._latest = self._take(read_totals())
            self._taken_at = now
        return self._latest

    def with_histories(self, samples: int = SAMPLES) -> StatusDocument:
        """Return the state of this moment and the latest `samples` of the last minutes."""
        return with_histories(self.snapshot(), self._history, samples)

    def event(self) -> bytes:
        """Return the latest sample as an event, the same bytes for all viewers."""
        if self._event is None:
            self._event = render_event(self.with_histories(1))
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
        totals = read_totals()
        self._history.sample(self._live.streams, totals.rows_dropped, elapsed_s)
        snapshot = self._take(totals)
        self._latest = None if self._tell_status(snapshot) else snapshot
        self._taken_at = trio.current_time()
        self._event = None
        sampled, self._sampled = self._sampled, trio.Event()
        sampled.set()

    def _tell_status(self, snapshot: StatusDocument) -> bool:
        """Log a change of the verdict, and put it among what happened; True if there is one."""
        status, before = snapshot.health.status, self._status
        self._status = status
        if before in (None, status):
            return False
        reasons = [reason.text for reason in snapshot.health.reasons]
        tell = log.warning if status is Status.UNHEALTHY else log.info
        tell("health changed", status=status, before=before, reasons=reasons)
        text = "; ".join(reasons) or f"was {before}"
        self._live.happened("collector", status, snapshot.now_us, text)
        return True

    def _take(self, totals: Totals) -> StatusDocument:
        return build_status(
            self._live,
            self._history,
            totals,
            self._place,
            now_us=self._now_us(),
            disk_total_bytes=self._disk_total_bytes,
        )

    async def _watch_disk(self) -> None:
        while True:
            # A disk that does not answer holds up this thread, and nothing that waits for it.
            self._disk_total_bytes = await trio.to_thread.run_sync(
                measure_disk, self._place.storage.data_dir, abandon_on_cancel=True
            )
            await trio.sleep(DISK_EVERY_S)
