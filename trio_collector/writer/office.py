"""What the two waiting parts of the writer, flusher and sealer, have in common."""

from collections.abc import Callable
from typing import NamedTuple

from trio_collector.writer.disk import Disk
from trio_collector.writer.guard import DiskState
from trio_collector.writer.segment import Place


class Office(NamedTuple):
    """Where they work, with what, and where they tell how it goes."""

    place: Place
    disk: Disk
    state: DiskState
    now_us: Callable[[], int]  # the wall clock
