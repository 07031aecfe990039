"""What the flusher and the sealer share.

Both work on the same spool and disk, report into the same state and read the same wall clock;
without this each of them would take four more arguments.
"""

from collections.abc import Callable
from typing import NamedTuple

from trio_collector.disk import Disk
from trio_collector.telemetry.storage_state import DiskState
from trio_collector.writer.segment import Spool


class WriterContext(NamedTuple):
    """Where the writer works and where it reports its state."""

    spool: Spool
    disk: Disk
    state: DiskState
    now_us: Callable[[], int]  # the wall clock, in microseconds since the Unix epoch
