"""What the metrics and the disk say beyond the vitals, read in one go."""

import shutil
from pathlib import Path
from typing import NamedTuple

from trio_collector.telemetry import metrics


class Totals(NamedTuple):
    """The process's numbers that are not of one stream."""

    inflight_bytes: int = 0
    rows_buffered: int = 0
    journal_rows: int = 0
    rows_sealed: int = 0
    files_sealed: int = 0
    rows_dropped: int = 0
    disk_free_bytes: int = 0
    uploads: int = 0
    upload_failures: int = 0
    uploaded_bytes: int = 0
    spool_files: int = 0
    spool_bytes: int = 0


def read_totals() -> Totals:
    """Return what the metrics say now."""
    return Totals(
        inflight_bytes=int(metrics.total(metrics.inflight_bytes)),
        rows_buffered=int(metrics.total(metrics.parquet_rows_buffered)),
        journal_rows=int(metrics.total(metrics.journal_rows)),
        rows_sealed=int(metrics.total(metrics.parquet_rows_written)),
        files_sealed=int(metrics.total(metrics.parquet_files_rotated)),
        rows_dropped=int(metrics.total(metrics.messages_dropped)),
        disk_free_bytes=int(metrics.total(metrics.disk_free_bytes)),
        uploads=_uploads(),
        upload_failures=int(metrics.total(metrics.s3_upload_failures)),
        uploaded_bytes=int(metrics.total(metrics.s3_upload_bytes)),
        spool_files=int(metrics.total(metrics.upload_queue_depth)),
        spool_bytes=int(metrics.total(metrics.spool_bytes)),
    )


def _uploads() -> int:
    """Return how many uploads went well."""
    return sum(
        int(sample.value)
        for family in metrics.s3_upload_seconds.collect()
        for sample in family.samples
        if sample.name.endswith("_count") and sample.labels.get("status") == "success"
    )


def measure_disk(folder: str) -> int | None:
    """Return the size in bytes of the filesystem that `folder` is on, or is going to be on."""
    path = Path(folder).absolute()
    for place in (path, *path.parents):
        try:
            return shutil.disk_usage(place).total
        except FileNotFoundError:
            continue
        except OSError:  # the writer tells about a broken disk
            return None
    return None
