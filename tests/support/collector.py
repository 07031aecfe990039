"""The whole collector in a task beside a test."""

import ssl

import trio

from trio_collector import app
from trio_collector.config.settings import Config
from trio_collector.feed.planning.connections import ConnectionPlan
from trio_collector.telemetry.live_state import LiveState

END_S = 30.0  # until a collector that was told to stop has to be gone


class RunningCollector:
    """A collector; `run` it in a nursery of the test. `is_clean` is its verdict once it has ended."""

    def __init__(
        self,
        config: Config,
        connections: list[ConnectionPlan] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.connections = app.plan(config, {}) if connections is None else connections
        self.live = LiveState()
        self.stop = trio.Event()
        self.ended = trio.Event()
        self.is_clean: bool | None = None
        self.scope = trio.CancelScope()
        self._config = config
        self._ssl_context = ssl_context

    async def run(self) -> None:
        """Collect until `stop` is set, or `scope` is cancelled."""
        with self.scope:
            self.is_clean = await app.collect(
                self._config,
                self.connections,
                self.stop,
                ssl_context=self._ssl_context,
                live=self.live,
            )
        self.ended.set()

    def rows(self) -> int:
        """Return how many rows were received until now."""
        return sum(stream.rows for stream in self.live.streams.values())

    async def end(self) -> None:
        """Let it stop and drain; fail if that takes too long."""
        self.stop.set()
        with trio.fail_after(END_S):
            await self.ended.wait()
