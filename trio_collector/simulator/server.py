"""The simulator: TCP listeners on this machine, where a request's path tells the venue.

    ws(s)://127.0.0.1:PORT/binance/stream  /coinbase  /upbit/websocket/v1  /okx/ws/v5/public  …
    http(s)://127.0.0.1:PORT/binance/api/v3/depth  /simulator/book/…  /simulator/sent

One task steps all markets every `tick_s` and hands each connection what came of it; one task for
each connection sends, one receives. Whatever a client does ends at most its own connection, and
what goes wrong here on purpose is as exact as everything else: see `faults`.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import trio

from trio_collector.simulator.clock import Clock
from trio_collector.simulator.faults.act import Act, Deed
from trio_collector.simulator.faults.catalog import CATALOG, NEED_TLS, Stage
from trio_collector.simulator.faults.director import Director
from trio_collector.simulator.faults.fault import Fault, InjectedFault, Kind
from trio_collector.simulator.markets.exchange import SimulatedExchange
from trio_collector.simulator.markets.exchanges import open_exchanges
from trio_collector.simulator.net.connection import Connection
from trio_collector.simulator.net.handshake import Client, Handshake
from trio_collector.simulator.net.outbox import Outbox
from trio_collector.simulator.net.ports import HOST, Port
from trio_collector.simulator.net.tls import ServerIdentity, create_identity
from trio_collector.simulator.record import SentRecord
from trio_collector.simulator.settings import Simulation

ALL = ""  # the exchange of the port that serves all of them


class Simulator:
    """A running simulator: where it listens, what it has sent, its brake and its faults."""

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
        self._director = Director(settings.faults)
        self._entrance = Handshake(exchanges, sent, self._director, identity, self._clock)
        self._is_paused = False
        self._shifts: list[tuple[float, SimulatedExchange, int]] = []  # when a jump of a clock ends
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
    def happenings(self) -> list[InjectedFault]:
        """The faults that have happened so far, in order."""
        return self._director.happenings

    def base_url(self, exchange: str) -> str:
        """Return what goes into a market's `base_url`."""
        port = self.ports.get(exchange, self.ports[ALL])
        return f"{'wss' if self._settings.is_tls else 'ws'}://{HOST}:{port.number}/{exchange}"

    def describe(self) -> dict[str, Any]:
        """Return where it is and what a client has to trust, for who reads it as JSON."""
        return {
            "port": self.port,
            "base_urls": {name: self.base_url(name) for name in self._settings.exchanges},
            "ca_pem": self.ca_pem.decode("ascii"),
        }

    def inject(self, fault: Fault) -> None:
        """Let `fault` happen: now, or from now on when it says.

        Raises ValueError if it makes no sense, or needs TLS or a port of its exchange's own.
        """
        if fault.kind in NEED_TLS and not self._settings.is_tls:
            raise ValueError(f"{fault.kind} needs is_tls")
        is_of_port = CATALOG[fault.kind].stage is Stage.ACCEPT or fault.kind is Kind.LISTENER_CLOSED
        if is_of_port and fault.exchange is not None and len(self.ports) == 1:
            raise ValueError(f"{fault.kind} of one exchange needs has_own_ports")
        watch = self._director.inject(fault, self._clock.now_s())
        for connection in self.connections:
            connection.course = self._director.extend(
                watch, connection.visit, connection.dialect, connection.course
            )
            connection.flush()
        self._misfortune()

    def pause(self) -> None:
        """Stop all markets; connections, heartbeats and pings go on."""
        self._is_paused = True

    def resume(self) -> None:
        """Let the markets go on from where they were."""
        for exchange in self.exchanges.values():
            exchange.rest_until(self._clock.now_ms())
        self._is_paused = False

    async def wait_sent(self) -> None:
        """Wait until everything that has happened so far is in the kernel's hands, or never will be.

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
        self._misfortune()
        if not self._is_paused:
            now_ms = self._clock.now_ms()
            for exchange in self.exchanges.values():
                exchange.step(now_ms)
        for connection in self.connections:
            connection.flush()
        self.sent.flush()

    async def serve_client(self, socket: trio.SocketStream, exchange: str) -> None:
        """Serve one TCP connection to the port of `exchange`; the caller closes it."""
        guest = await self._entrance.admit(socket, exchange)
        if guest is not None:
            await self._serve_guest(guest)

    async def _serve_guest(self, guest: Client) -> None:
        dialect, visit = guest.dialect, guest.visit
        outbox = Outbox(
            guest.stream, visit.exchange, self.sent, self._settings.max_queue_bytes, visit.id
        )
        connection = Connection(guest.stream, dialect, outbox, self._clock, visit)
        connection.course = self._director.open_course(visit, dialect)
        self.connections.add(connection)
        try:
            await connection.run(guest.trailing)
        finally:
            self.connections.discard(connection)
            dialect.leave()

    def _misfortune(self) -> None:
        """Let happen to whole exchanges what is due."""
        now_s = self._clock.now_s()
        for end_s, exchange, shift_ms in self._shifts:
            if end_s <= now_s:
                exchange.shift_ms -= shift_ms
        self._shifts = [each for each in self._shifts if each[0] > now_s]
        for fault in self._director.due(now_s):
            if fault.kind is Kind.CLOCK_JUMP:
                self._jump(fault, now_s)
            else:
                self._shut(fault)

    def _jump(self, fault: Fault, now_s: float) -> None:
        shift_ms = int(fault.shift_s * 1_000)
        for exchange in self.exchanges.values():
            if fault.exchange in (None, exchange.exchange):
                exchange.shift_ms += shift_ms
                self._shifts.append((now_s + _length_s(fault), exchange, shift_ms))

    def _shut(self, fault: Fault) -> None:
        """Close the ports of an exchange, and if it is down, its connections."""
        for name, port in self.ports.items():
            if fault.exchange in (None, name):
                port.close(_length_s(fault))
                if fault.kind is Kind.VENUE_DOWN:
                    self._entrance.close(name, _length_s(fault))
        for connection in list(self.connections):
            is_meant = fault.exchange in (None, connection.visit.exchange)
            if fault.kind is Kind.VENUE_DOWN and is_meant:
                connection.befall(Act(Deed.RESET))


def _length_s(fault: Fault) -> float:
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
    identity = create_identity() if settings.is_tls else None
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


async def run_simulator(settings: Simulation, when_ready: Callable[[Simulator], None]) -> None:
    """Serve until cancelled; `when_ready` gets the simulator once it listens."""
    async with trio.open_nursery() as nursery:
        when_ready(await nursery.start(serve_simulator, settings))
