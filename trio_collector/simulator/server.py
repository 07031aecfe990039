"""The simulator: TCP listeners on this machine, where the path of a request names the exchange.

    ws(s)://127.0.0.1:PORT/binance/stream  /coinbase  /upbit/websocket/v1  /okx/ws/v5/public  …
    http(s)://127.0.0.1:PORT/binance/api/v3/depth  /simulator/book/…  /simulator/sent

One task steps all markets every `tick_s` and hands each connection what came of it; one task for
each connection sends, one receives. Whatever a client does ends at most its own connection. Faults are
injected on purpose, at an exact place: see `faults`.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import trio

from trio_collector.simulator.clock import Clock
from trio_collector.simulator.faults.action import Action, ActionKind
from trio_collector.simulator.faults.catalog import CATALOG, NEED_TLS, Stage
from trio_collector.simulator.faults.fault import Fault, InjectedFault, Kind
from trio_collector.simulator.faults.injector import FaultInjector
from trio_collector.simulator.markets.exchange import SimulatedExchange
from trio_collector.simulator.markets.exchanges import open_exchanges
from trio_collector.simulator.net.connection import Connection
from trio_collector.simulator.net.handshake import Client, Handshake
from trio_collector.simulator.net.identity import ServerIdentity
from trio_collector.simulator.net.outbox import Outbox
from trio_collector.simulator.net.ports import HOST, Port
from trio_collector.simulator.record import SentRecord
from trio_collector.simulator.settings import Simulation

ALL = ""  # the exchange of the port that serves all of them


class Simulator:
    """A running simulator: where it listens, what it has sent, pausing it, and its faults."""

    def __init__(
        self,
        settings: Simulation,
        exchanges: dict[str, SimulatedExchange],
        sent: SentRecord,
        identity: ServerIdentity | None,
        start_ms: float,
    ) -> None:
        self.sent = sent
        self.exchanges = exchanges
        self.ca_pem = identity.ca_pem if identity else b""
        self.connections: set[Connection] = set()
        self._settings = settings
        self._clock = Clock(start_ms)
        self._injector = FaultInjector(settings.faults)
        self._handshake = Handshake(exchanges, sent, self._injector, identity, self._clock)
        self._is_paused = False
        self._shifts: list[
            tuple[float, SimulatedExchange, int]
        ] = []  # of clocks, and when they end
        has_own_ports = settings.has_own_ports or bool(settings.faults.faults)
        names = (ALL, *settings.exchanges) if has_own_ports else (ALL,)
        self.ports = {
            name: Port(name, settings.port if name == ALL else 0, self.serve_client)
            for name in names
        }

    @property
    def port(self) -> int:
        """The port that serves all exchanges."""
        return self.ports[ALL].number

    @property
    def injected_faults(self) -> list[InjectedFault]:
        """The faults injected so far, in order."""
        return self._injector.injected_faults

    def base_url(self, exchange: str) -> str:
        """Return what goes into a market's `base_url`."""
        port = self.ports.get(exchange, self.ports[ALL])
        return f"{'wss' if self._settings.is_tls else 'ws'}://{HOST}:{port.number}/{exchange}"

    def describe(self) -> dict[str, Any]:
        """Return the addresses and the certificate to trust, as what JSON is made of."""
        return {
            "port": self.port,
            "base_urls": {name: self.base_url(name) for name in self._settings.exchanges},
            "ca_pem": self.ca_pem.decode("ascii"),
        }

    def inject(self, fault: Fault) -> None:
        """Inject `fault` now, or from now on when it is due.

        Raises ValueError if it makes no sense, or needs TLS or a port of its exchange's own.
        """
        if fault.kind in NEED_TLS and not self._settings.is_tls:
            raise ValueError(f"{fault.kind} needs is_tls")
        is_of_port = CATALOG[fault.kind].stage is Stage.ACCEPT or fault.kind is Kind.LISTENER_CLOSED
        if is_of_port and fault.exchange is not None and len(self.ports) == 1:
            raise ValueError(f"{fault.kind} of one exchange needs has_own_ports")
        armed = self._injector.inject(fault, self._clock.now_s())
        for connection in self.connections:
            connection.faults = self._injector.extend(
                armed, connection.info, connection.dialect, connection.faults
            )
            connection.flush()
        self._inject_exchange_faults()

    def pause(self) -> None:
        """Stop all markets; connections, heartbeats and pings go on."""
        self._is_paused = True

    def resume(self) -> None:
        """Let the markets go on from where they were."""
        for exchange in self.exchanges.values():
            exchange.rest_until(self._clock.now_ms())
        self._is_paused = False

    async def wait_sent(self) -> None:
        """Wait until all frames so far are handed to the kernel, or can no longer be sent.

        After `pause`, `sent` is final when this returns.
        """
        await trio.lowlevel.checkpoint()
        for connection in list(self.connections):
            connection.flush()
            while connection.is_late:
                await trio.sleep(self._settings.tick_s)
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
        self._inject_exchange_faults()
        if not self._is_paused:
            now_ms = self._clock.now_ms()
            for exchange in self.exchanges.values():
                exchange.step(now_ms)
        for connection in self.connections:
            connection.flush()
        self.sent.flush()

    async def serve_client(self, socket: trio.SocketStream, exchange: str) -> None:
        """Serve one TCP connection to the port of `exchange`; the caller closes it."""
        client = await self._handshake.accept(socket, exchange)
        if client is not None:
            await self._serve_websocket(client)

    async def _serve_websocket(self, client: Client) -> None:
        dialect, info = client.dialect, client.info
        outbox = Outbox(
            client.stream, info.exchange, self.sent, self._settings.max_queue_bytes, info.id
        )
        connection = Connection(client.stream, dialect, outbox, self._clock, info)
        connection.faults = self._injector.open_connection(info, dialect)
        self.connections.add(connection)
        try:
            await connection.run(client.trailing)
        finally:
            self.connections.discard(connection)
            dialect.unsubscribe_all()

    def _inject_exchange_faults(self) -> None:
        """Inject the faults of whole exchanges that are due."""
        now_s = self._clock.now_s()
        for end_s, exchange, shift_ms in self._shifts:
            if end_s <= now_s:
                exchange.shift_ms -= shift_ms
        self._shifts = [each for each in self._shifts if each[0] > now_s]
        for fault in self._injector.due(now_s):
            if fault.kind is Kind.CLOCK_JUMP:
                self._shift_clock(fault, now_s)
            else:
                self._take_down(fault)

    def _shift_clock(self, fault: Fault, now_s: float) -> None:
        shift_ms = int(fault.shift_s * 1_000)
        for exchange in self.exchanges.values():
            if fault.exchange in (None, exchange.exchange):
                exchange.shift_ms += shift_ms
                self._shifts.append((now_s + _duration_s(fault), exchange, shift_ms))

    def _take_down(self, fault: Fault) -> None:
        """Close the ports of an exchange; reset its connections as well if it is down."""
        for name, port in self.ports.items():
            if fault.exchange in (None, name):
                port.close(_duration_s(fault))
                if fault.kind is Kind.VENUE_DOWN:
                    self._handshake.close(name, _duration_s(fault))
        for connection in list(self.connections):
            is_meant = fault.exchange in (None, connection.info.exchange)
            if fault.kind is Kind.VENUE_DOWN and is_meant:
                connection.perform(Action(ActionKind.RESET))


def _duration_s(fault: Fault) -> float:
    return math.inf if fault.for_s is None else fault.for_s


async def serve_simulator(
    settings: Simulation,
    *,
    task_status: trio.TaskStatus[Simulator] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; started with the running simulator.

    Raises OSError if the port is taken or `captures` or a path of the record cannot be used.
    """
    start_ms = time.time() * 1_000
    exchanges = await trio.to_thread.run_sync(open_exchanges, settings, start_ms)
    identity = _create_identity() if settings.is_tls else None
    with SentRecord(
        is_recording=settings.is_recording or settings.captures is not None,
        path=settings.record_path,
        entries_path=settings.entries_path,
    ) as sent:
        simulator = Simulator(settings, exchanges, sent, identity, start_ms)
        async with trio.open_nursery() as nursery:
            for port in simulator.ports.values():
                await nursery.start(port.run)
            nursery.start_soon(simulator.run_clock)
            task_status.started(simulator)


def _create_identity() -> ServerIdentity:
    # Imported here: only TLS needs a certificate authority, and `cryptography` is slow to import.
    from trio_collector.simulator.net.tls import create_identity

    return create_identity()


async def run_simulator(settings: Simulation, when_ready: Callable[[Simulator], None]) -> None:
    """Serve until cancelled; `when_ready` gets the simulator once it listens."""
    async with trio.open_nursery() as nursery:
        when_ready(await nursery.start(serve_simulator, settings))
