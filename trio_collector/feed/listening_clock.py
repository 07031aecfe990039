"""A clock that stands still while a session cannot read: a slow disk is not the exchange's silence.

Rows that find no room with the writer make a session stop reading. What the exchange sends
meanwhile waits in the kernel, so that no time may count against it. Everything that measures
silence or waits for an answer does so on this clock; its times are *listening times*, in seconds,
and never later than trio's.
"""

import contextlib
import math
from collections.abc import Callable, Iterator

import trio


class ListeningClock:
    """Trio's clock, less the time for which nothing could be read."""

    def __init__(self) -> None:
        self._stood_s = 0.0
        self._stopped_at = math.inf  # trio's time; inf while the clock runs
        self._resumed_at = -math.inf  # likewise
        self._runs = trio.Event()
        self._runs.set()

    def now(self) -> float:
        """Return the listening time."""
        return self.listening_time(trio.current_time())

    def listening_time(self, at: float) -> float:
        """Return what it was here at `at` by trio's clock, which is not before the latest stop."""
        return min(at, self._stopped_at) - self._stood_s

    def trio_time(self, listening: float) -> float:
        """Return when it is `listening` by trio's clock, if this one is not stopped until then."""
        return listening + self._stood_s

    def latest_sign(self, read_at: float) -> float:
        """Return when the exchange was last heard, or could not be heard, by trio's clock.

        `read_at` is when something was read last, likewise.
        """
        if not self._runs.is_set():
            return trio.current_time()
        return max(read_at, self._resumed_at)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the clock stand still as long as the block runs."""
        self._stopped_at = trio.current_time()
        self._runs = trio.Event()
        try:
            yield
        finally:
            self._resumed_at = trio.current_time()
            self._stood_s += self._resumed_at - self._stopped_at
            self._stopped_at = math.inf
            self._runs.set()

    async def sleep_until(self, due: Callable[[], float]) -> float:
        """Wait until the listening time `due()`, which may move on, has come; return the time.

        What is returned is not before `due()`, whatever is rounded, so that who waited for a
        deadline finds it passed.
        """
        while True:
            await trio.sleep_until(self.trio_time(due()))
            await self._runs.wait()
            if trio.current_time() >= self.trio_time(due()):
                return max(self.now(), due())
