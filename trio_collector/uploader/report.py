"""What delivery reports of itself: its state, metrics and log.

A condition that lasts is logged once: a rejection until something works again, a store that is down
until it is back. The failures of one file are logged once for each kind.
"""

import datetime
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from trio_collector.errors import (
    DiskError,
    IntegrityError,
    StoreError,
    StoreRejected,
    StoreThrottling,
)
from trio_collector.telemetry import metrics
from trio_collector.telemetry.storage_state import DeliveryState
from trio_collector.uploader.backlog import Job
from trio_collector.uploader.spool import Spool

log = structlog.get_logger(__name__)

# What an attempt may raise: the store's errors and the disk's.
DELIVERY_ERRORS = (StoreError, DiskError, OSError)


class Report:
    """Keeps `state` and the metrics up to date, and logs; `now_s` is the wall clock."""

    def __init__(self, state: DeliveryState, now_s: Callable[[], float]) -> None:
        self.state = state
        self._now_s = now_s
        self._rejections: set[str] = set()  # logged since something worked

    def today(self) -> datetime.date:
        return datetime.datetime.fromtimestamp(self._now_s(), datetime.UTC).date()

    def scanned(self, spool: Spool, in_hand: int) -> None:
        """Take note of what waits: what was found, and the files `in_hand`, which were skipped."""
        self._set_waiting(spool.files + in_hand)
        if self.state.waiting_files:
            self.state.waiting_bytes, self.state.oldest_s = spool.size_bytes, spool.oldest_s
        self.refresh()

    def not_scanned(self, data_dir: Path, exc: OSError) -> None:
        self.state.last_error = str(exc)
        log.error("folder cannot be listed", path=str(data_dir), error=str(exc))

    def refresh(self) -> None:
        """Set the gauges from `state`."""
        metrics.upload_queue_depth.set(self.state.waiting_files)
        metrics.spool_bytes.set(self.state.waiting_bytes)
        metrics.spool_age_seconds.set(self.state.backlog_age_s(self._now_s()))

    def upload_began(self, *, is_retry: bool) -> float:
        """Return when an upload began, for its end. One that is cancelled has no end."""
        if is_retry:
            metrics.s3_upload_retries.inc()
        return time.perf_counter()

    def uploaded(self, key: str, size: int, began: float) -> None:
        took_s = time.perf_counter() - began
        metrics.s3_upload_seconds.labels("success").observe(took_s)
        metrics.s3_upload_bytes.inc(size)
        self.state.uploads += 1
        self.state.uploaded_bytes += size
        log.info("file uploaded", key=key, bytes=size, seconds=round(took_s, 3))

    def upload_failed(self, exc: Exception, began: float) -> None:
        metrics.s3_upload_seconds.labels("failure").observe(time.perf_counter() - began)
        metrics.s3_upload_failures.inc()
        self.state.upload_failures += 1
        metrics.s3_errors.labels(_reason(exc)).inc()

    def gone(self, job: Job) -> None:
        log.warning("file is gone from the spool", path=str(job.sealed.path))
        self._count_down()

    def delivered(self) -> None:
        """Take note that a file was delivered: whatever was wrong is over."""
        if self.state.is_store_down:
            log.info("store is back", waiting_files=self.state.waiting_files)
        self.state.is_store_down = False
        self.state.failures = 0
        self.state.refusal = None
        self._rejections.clear()
        self._count_down()

    def _count_down(self) -> None:
        """Take one file off; bytes and age of the others are known after the next scan."""
        self._set_waiting(max(0, self.state.waiting_files - 1))
        self.refresh()

    def _set_waiting(self, files: int) -> None:
        self.state.waiting_files = files
        if not files:
            self.state.waiting_bytes, self.state.oldest_s = 0, None

    def failed(self, job: Job, exc: Exception, *, is_store_down: bool) -> None:
        """Take note that an attempt to deliver `job` failed."""
        self.state.failures += 1
        self.state.last_error = str(exc)
        is_news = type(exc) not in job.logged
        job.logged.add(type(exc))
        if isinstance(exc, StoreRejected):
            self.rejected(exc)
        elif isinstance(exc, IntegrityError):
            if is_news:
                log.error("store contradicts what was sent", error=str(exc))
        elif not isinstance(exc, StoreError):
            if is_news:
                log.error("file not moved", path=str(job.sealed.path), error=str(exc))
        elif is_store_down and not self.state.is_store_down:
            log.warning("store is down", error=str(exc), remedy=exc.remedy)
        elif is_news and not is_store_down:
            log.warning("upload failed, will be tried again", error=str(exc))
        self.state.is_store_down = is_store_down

    def rejected(self, exc: StoreRejected) -> None:
        """Log once what a person has to change."""
        self.state.refusal = self.state.last_error = str(exc)
        kind = exc.code or str(exc.status)
        if kind in self._rejections:
            return
        self._rejections.add(kind)
        log.error(
            "store refuses, files are kept",
            error=str(exc),
            remedy=exc.remedy,
            request_id=exc.request_id,
        )


def _reason(exc: Exception) -> str:
    match exc:
        case IntegrityError():
            return "wrong_content"
        case StoreRejected():
            return "refused"
        case StoreThrottling():
            return "throttled"
        case StoreError():
            return "unavailable"
    return "disk"
