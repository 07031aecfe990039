"""How the rows get on, from memory to where they are kept: the writer's part and the uploader's.

Plain fields. A stage changes them next to the metric of the same fact; everybody else only reads
them. Totals count from the start of the collector and never go down.
"""

import msgspec


class DiskState(msgspec.Struct):
    """The writer and its disk."""

    is_low: bool = False
    failing_streams: int = 0  # their last append failed
    last_error: str | None = None
    free_bytes: int = 0  # of the filesystem of data_dir; 0 until it was measured
    rows_buffered: int = 0  # in memory, not yet in a journal
    rows_dropped: int = 0  # shed, or given up at the end
    open_journals: int = 0
    journal_bytes: int = 0  # of the open ones
    journal_rows: int = 0  # written to journals
    waiting_seals: int = 0  # with the one that is being sealed
    files_sealed: int = 0
    rows_sealed: int = 0

    @property
    def is_shedding(self) -> bool:
        return self.is_low or self.failing_streams > 0


class DeliveryState(msgspec.Struct):
    """The uploader, and the store if there is one. Times are Unix time in seconds."""

    waiting_files: int = 0
    waiting_bytes: int = 0
    oldest_s: float | None = None  # when the file that waits longest was sealed
    active: int = 0  # attempts that are under way
    failures: int = 0  # attempts in a row that failed
    last_error: str | None = None
    refusal: str | None = None  # what only a person can change; None since it worked again
    is_store_down: bool = False  # attempt after attempt fails
    uploads: int = 0  # attempts to upload that succeeded
    upload_failures: int = 0  # those that failed
    uploaded_bytes: int = 0  # of files that the store has, verified

    def backlog_age_s(self, now_s: float) -> float:
        """Return how long the oldest file has been waiting; 0 if none waits."""
        return 0.0 if self.oldest_s is None else max(0.0, now_s - self.oldest_s)
