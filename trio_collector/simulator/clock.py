"""The simulator's time."""

import trio


class Clock:
    """Seconds since the start, and the wall clock as it was then, moved on by trio's clock."""

    def __init__(self, start_ms: float) -> None:
        self._start_s = trio.current_time()
        self._start_ms = start_ms

    def now_s(self) -> float:
        return trio.current_time() - self._start_s

    def now_ms(self) -> int:
        return int(self._start_ms + self.now_s() * 1_000)
