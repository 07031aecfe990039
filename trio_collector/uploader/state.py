"""How delivery gets on; for whoever tells if the collector is ready."""

import msgspec


class DeliveryState(msgspec.Struct):
    """What waits, and what is wrong. Times are Unix time in seconds."""

    waiting_files: int = 0
    waiting_bytes: int = 0
    oldest_s: float | None = None  # when the file that waits longest was sealed
    active: int = 0  # attempts that are under way
    failures: int = 0  # attempts in a row that failed
    last_error: str | None = None
    refusal: str | None = None  # what only a person can change; None since it worked again
    is_store_down: bool = False  # attempt after attempt fails

    def backlog_age_s(self, now_s: float) -> float:
        """Return how long the oldest file has been waiting; 0 if none waits."""
        return 0.0 if self.oldest_s is None else max(0.0, now_s - self.oldest_s)
