"""A client's conversation with a simulated exchange without sockets, in a time of its own.

For tests of pure code: answers come at once, and time passes only in `wait`.
"""

from trio_collector.simulator.endpoints import find_endpoint
from trio_collector.simulator.markets.exchange import SimulatedExchange
from trio_collector.simulator.markets.exchanges import open_exchanges
from trio_collector.simulator.net.frames import Frame, Opcode
from trio_collector.simulator.settings import Simulation

START_MS = 1_790_000_000_000
STEP_MS = 20


class Conversation:
    """One connection to the endpoint at `target`; with an `exchange`, another one to it."""

    def __init__(
        self,
        target: str,
        settings: Simulation | None = None,
        *,
        exchange: SimulatedExchange | None = None,
    ) -> None:
        endpoint = find_endpoint(target.partition("?")[0])
        if endpoint is None:
            raise ValueError(f"no endpoint at {target}")
        self.now_ms = START_MS if exchange is None else int(exchange.stepped_ms)
        self.exchange = (
            exchange or open_exchanges(settings or Simulation(), START_MS)[endpoint.exchange]
        )
        self.dialect = endpoint.dialect(self.exchange, target, self.now_ms)

    def say(self, message: str | bytes) -> list[Frame]:
        """Send `message`; return the frames that follow at once."""
        self.dialect.receive(message.encode() if isinstance(message, str) else message, self.now_ms)
        return self.hear()

    def pong(self, payload: bytes) -> list[Frame]:
        """Send a pong frame."""
        self.dialect.receive_control(Opcode.PONG, payload, self.now_ms)
        return self.hear()

    def hear(self) -> list[Frame]:
        """Return what came since, at the exchange's time."""
        self.now_ms = max(self.now_ms, int(self.exchange.stepped_ms))
        return self.dialect.flush(self.now_ms)

    def wait(self, wait_ms: int) -> list[Frame]:
        """Let `wait_ms` pass in steps; return what came meanwhile."""
        frames = []
        for _ in range(0, wait_ms, STEP_MS):
            self.now_ms += STEP_MS
            self.exchange.step(self.now_ms)
            frames += self.hear()
        return frames
