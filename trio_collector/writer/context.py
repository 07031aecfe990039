"""What the two waiting parts of the writer, flusher and sealer, have in common."""

from collections.abc import Callable
from typing import NamedTuple

from trio_collector.disk import Disk
from trio_collector.telemetry.storage_state import DiskState
from trio_collector.writer.segment import Folders


class WriterContext(NamedTuple):
    """Where they work, with what, and where they tell how it goes."""

    folders: Folders
    disk: Disk
    state: DiskState
    now_us: Callable[[], int]  # the wall clock
