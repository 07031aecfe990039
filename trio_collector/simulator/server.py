"""The simulator: one TCP listener on this machine whose path tells the venue.

    ws(s)://127.0.0.1:PORT/binance/stream  /coinbase  /upbit/websocket/v1  /okx/ws/v5/public  …
    http(s)://127.0.0.1:PORT/binance/api/v3/depth  /simulator/book/…  /simulator/sent

One task steps all markets every `tick_s` and hands each connection what came of it; one task for
each connection sends, one receives. Whatever a client does ends at most its own connection.
"""

import time
from collections.abc import Callable
from typing import Any

import h11
import structlog
import trio

from trio_collector.simulator.connection import Connection
from trio_collector.simulator.endpoints import Endpoint, find_endpoint, open_venues
from trio_collector.simulator.http import (
    HttpAnswer,
    HttpRequest,
    read_request,
    send_answer,
    send_upgrade,
)
from trio_collector.simulator.outbox import Outbox, Stream
from trio_collector.simulator.record import SentRecord
from trio_collector.simulator.rest import answer_get
from trio_collector.simulator.settings import Simulation
from trio_collector.simulator.tls import ServerIdentity, create_identity
from trio_collector.simulator.venue import Venue

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

HOST = "127.0.0.1"
HANDSHAKE_S = 10.0


class Simulator:
    """A running simulator: where it listens, what it has sent, and its brake."""

    def __init__(
        self, settings: Simulation, venues: dict[str, Venue], sent: SentRecord, start_ms: float
    ) -> None:
        self.sent = sent
        self.venues = venues
        self.port = 0
        self.ca_pem = b""
        self.connections: set[Connection] = set()
        self._settings = settings
        self._start_ms = start_ms - trio.current_time() * 1_000
        self._is_paused = False

    def base_url(self, exchange: str) -> str:
        """Return what goes into a market's `base_url`."""
        return f"{'wss' if self._settings.is_tls else 'ws'}://{HOST}:{self.port}/{exchange}"

    def describe(self) -> dict[str, Any]:
        """Return where it is and what a client has to trust, for who reads it as JSON."""
        return {
            "port": self.port,
            "base_urls": {name: self.base_url(name) for name in self._settings.venues},
            "ca_pem": self.ca_pem.decode("ascii"),
        }

    def pause(self) -> None:
        """Stop all markets; connections, heartbeats and pings go on."""
        self._is_paused = True

    def resume(self) -> None:
        """Let the markets go on from where they were."""
        for venue in self.venues.values():
            venue.rest_until(self._now_ms())
        self._is_paused = False

    async def wait_sent(self) -> None:
        """Wait until everything that has happened so far is in the kernel's hands, or never will be.

        After `pause`, `sent` is final when this returns.
        """
        for connection in list(self.connections):
            connection.flush()
            await connection.outbox.wait_empty()
        self.sent.flush()

    async def run_clock(self) -> None:
        """Step the markets and the connections' timers, for ever."""
        busy_s = 0.0
        while True:
            # Sending takes about a third of the time that making does (5 and 16 µs a frame).
            # Where the processor is short, it gets that share instead of starving.
            await trio.sleep(max(self._settings.tick_s, busy_s / 2))
            started = trio.current_time()
            self._step()
            busy_s = trio.current_time() - started

    def _step(self) -> None:
        if not self._is_paused:
            now_ms = self._now_ms()
            for venue in self.venues.values():
                venue.step(now_ms)
        for connection in self.connections:
            connection.flush()
        self.sent.flush()

    async def serve_client(self, stream: Stream) -> None:
        """Serve one TCP connection; the caller closes it."""
        http = h11.Connection(h11.SERVER)
        try:
            with trio.fail_after(HANDSHAKE_S):
                endpoint, target = await self._answer_request(stream, http)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            return
        except h11.ProtocolError as exc:
            log.info("not a request", error=str(exc))
            return
        if endpoint is not None:
            await self._serve_websocket(stream, endpoint, target, bytes(http.trailing_data[0]))

    async def _answer_request(
        self, stream: Stream, http: h11.Connection
    ) -> tuple[Endpoint | None, str]:
        """Answer a request; return the endpoint and target that a WebSocket is now open to."""
        request = await read_request(stream, http)
        if request is None:
            return None, ""
        endpoint = find_endpoint(request.path) if request.is_upgrade else None
        if endpoint is not None and endpoint.venue in self.venues:
            await send_upgrade(stream, http, request)
            return endpoint, request.target
        await send_answer(stream, http, self._answer_of(request))
        return None, ""

    def _answer_of(self, request: HttpRequest) -> HttpAnswer:
        if request.method != "GET":
            return HttpAnswer(405, b"")
        return answer_get(request.target, self.venues, self.sent)

    async def _serve_websocket(
        self, stream: Stream, endpoint: Endpoint, target: str, trailing: bytes
    ) -> None:
        venue = self.venues[endpoint.venue]
        dialect = endpoint.dialect(venue, target, self._now_ms())
        outbox = Outbox(stream, venue.exchange, self.sent, self._settings.max_queue_bytes)
        connection = Connection(stream, dialect, outbox, self._now_ms)
        self.connections.add(connection)
        try:
            await connection.run(trailing)
        finally:
            self.connections.discard(connection)
            dialect.leave()

    def _now_ms(self) -> int:
        """Return the wall clock as it was at the start, moved on by trio's clock."""
        return int(self._start_ms + trio.current_time() * 1_000)


async def serve_simulator(
    settings: Simulation,
    *,
    task_status: trio.TaskStatus[Simulator] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; started with the running simulator.

    Raises OSError if the port is taken or `captures` or `record_path` cannot be used.
    """
    start_ms = time.time() * 1_000
    venues = await trio.to_thread.run_sync(open_venues, settings, start_ms)
    identity = create_identity() if settings.is_tls else None
    is_recording = settings.is_recording or settings.captures is not None
    with SentRecord(is_recording=is_recording, path=settings.record_path) as sent:
        simulator = Simulator(settings, venues, sent, start_ms)
        simulator.ca_pem = identity.ca_pem if identity else b""
        async with trio.open_nursery() as nursery:
            simulator.port = await nursery.start(_serve_port, settings.port, identity, simulator)
            nursery.start_soon(simulator.run_clock)
            task_status.started(simulator)


async def run_simulator(settings: Simulation, when_ready: Callable[[Simulator], None]) -> None:
    """Serve until cancelled; `when_ready` gets the simulator once it listens."""
    async with trio.open_nursery() as nursery:
        when_ready(await nursery.start(serve_simulator, settings))


async def _serve_port(
    port: int,
    identity: ServerIdentity | None,
    simulator: Simulator,
    *,
    task_status: trio.TaskStatus[int],
) -> None:
    """Accept clients until cancelled; started with the port."""
    (listener,) = await trio.open_tcp_listeners(port, host=HOST)
    task_status.started(listener.socket.getsockname()[1])
    if identity is None:
        await trio.serve_listeners(simulator.serve_client, [listener])
    else:
        encrypted = trio.SSLListener(listener, identity.context, https_compatible=True)
        await trio.serve_listeners(simulator.serve_client, [encrypted])
