"""From an accepted connection to a WebSocket: TLS, one request, and the faults of both.

A request for anything but a WebSocket is answered by REST, and the connection ends.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import h11
import structlog
import trio

from trio_collector.simulator.clock import Clock
from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.endpoints import Endpoint, find_endpoint
from trio_collector.simulator.faults.fault import Kind
from trio_collector.simulator.faults.injector import FaultInjector
from trio_collector.simulator.faults.trigger import ArmedFault
from trio_collector.simulator.markets.exchange import SimulatedExchange
from trio_collector.simulator.net.connection_end import (
    RECEIVE_BYTES,
    Stream,
    discard,
    finish,
    set_reset,
    transport_of,
)
from trio_collector.simulator.net.http import (
    HttpRequest,
    read_request,
    render_answer,
    render_upgrade,
)
from trio_collector.simulator.net.identity import Flaw, ServerIdentity
from trio_collector.simulator.net.refusals import ban_refusal, refusal
from trio_collector.simulator.net.rest_service import RestService
from trio_collector.simulator.record import ConnectionInfo, SentRecord

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

HANDSHAKE_S = 10.0
PLAIN_REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
GARBAGE = b"\x00\x01SSH-2.0-what is this\r\n" + bytes(range(256))
OTHER_KEY = b"b3RoZXIga2V5LCBub3QgeW91cnM="

_FLAWS = {
    Kind.TLS_WRONG_HOST: Flaw.WRONG_HOST,
    Kind.TLS_EXPIRED: Flaw.EXPIRED,
    Kind.TLS_UNTRUSTED: Flaw.UNTRUSTED,
}
_STATUSES = {
    Kind.STATUS_301: 301,
    Kind.STATUS_403: 403,
    Kind.STATUS_418: 418,
    Kind.STATUS_429: 429,
    Kind.STATUS_451: 451,
    Kind.STATUS_503: 503,
}


class Client(NamedTuple):
    """A client that has completed the handshake; `trailing` are the bytes that came behind it."""

    stream: Stream
    exchange: SimulatedExchange
    dialect: Dialect
    info: ConnectionInfo
    trailing: bytes


class Handshake:
    """Accepts clients, or injects the fault that concerns them."""

    def __init__(
        self,
        exchanges: Mapping[str, SimulatedExchange],
        sent: SentRecord,
        injector: FaultInjector,
        identity: ServerIdentity | None,
        clock: Clock,
    ) -> None:
        self._exchanges = exchanges
        self._sent = sent
        self._injector = injector
        self._identity = identity
        self._clock = clock
        self._rest = RestService(exchanges, sent, injector, clock)
        self._down_until_s: dict[str, float] = {}

    def close(self, exchange: str, for_s: float) -> None:
        """Reset every client of `exchange` for `for_s`, on whatever port it connects."""
        self._down_until_s[exchange] = self._clock.now_s() + for_s

    async def accept(self, socket: trio.SocketStream, exchange: str) -> Client | None:
        """Return the client that connected to the port of `exchange`; None if it got no WebSocket."""
        http = h11.Connection(h11.SERVER)
        try:
            stream = await self._open_stream(socket, exchange)
            if stream is None:
                return None
            with trio.fail_after(HANDSHAKE_S):
                request = await read_request(stream, http)
            return await self._answer(stream, http, request) if request else None
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            return None
        except h11.ProtocolError as exc:
            log.info("not a request", error=str(exc))
            return None

    async def _open_stream(self, socket: trio.SocketStream, exchange: str) -> Stream | None:
        """Return the stream to read a request from; None if the connection has ended."""
        fault = self._injector.accept(exchange, self._clock.now_s())
        if fault is not None and fault.kind is Kind.REFUSED:
            set_reset(socket)
            return None
        if fault is not None and fault.kind is Kind.PLAINTEXT:
            await socket.receive_some(RECEIVE_BYTES)
            await socket.send_all(PLAIN_REFUSAL)
            await finish(socket)
            return None
        if self._identity is None:
            return socket
        flaw = _FLAWS.get(fault.kind) if fault is not None else None
        context = self._identity.flawed[flaw] if flaw else self._identity.context
        return trio.SSLStream(socket, context, server_side=True, https_compatible=True)

    async def _answer(
        self, stream: Stream, http: h11.Connection, request: HttpRequest
    ) -> Client | None:
        endpoint = find_endpoint(request.path) if request.is_upgrade else None
        if endpoint is None or endpoint.exchange not in self._exchanges:
            await self._rest.answer(stream, http, request)
            return None
        now_s = self._clock.now_s()
        exchange = endpoint.dialect.facts.exchange
        if now_s < self._down_until_s.get(exchange, -math.inf):
            set_reset(transport_of(stream))
            return None
        number, armed = self._injector.handshake(exchange, request.path, now_s)
        if armed is not None and armed.fault.kind is not Kind.HANDSHAKE_SLOW:
            await self._refuse(stream, http, request, armed)
            return None
        upgrade = render_upgrade(http, request)
        if armed is None:
            await stream.send_all(upgrade)
        else:
            await _drip(stream, upgrade, armed.fault.drip_s)
        return self._open_websocket(stream, http, request, endpoint, number)

    def _open_websocket(
        self,
        stream: Stream,
        http: h11.Connection,
        request: HttpRequest,
        endpoint: Endpoint,
        number: int,
    ) -> Client:
        exchange = self._exchanges[endpoint.exchange]
        path = request.path.rstrip("/")
        info = self._sent.open_connection(exchange.exchange, path, number, self._clock.now_s())
        dialect = endpoint.dialect(exchange, request.target, self._clock.now_ms())
        return Client(stream, exchange, dialect, info, bytes(http.trailing_data[0]))

    async def _refuse(
        self, stream: Stream, http: h11.Connection, request: HttpRequest, armed: ArmedFault
    ) -> None:
        """Inject the fault of a handshake, which does not succeed."""
        fault = armed.fault
        match fault.kind:
            case Kind.HANDSHAKE_SILENT:
                await discard(stream)
            case Kind.HANDSHAKE_CLOSED:
                await finish(stream)
            case Kind.HANDSHAKE_GARBAGE:
                await stream.send_all(GARBAGE)
                await discard(stream)
            case Kind.WRONG_ACCEPT:
                await stream.send_all(render_upgrade(http, request, OTHER_KEY))
                await discard(stream)
            case Kind.IP_BAN:
                await stream.send_all(render_answer(http, ban_refusal(armed, self._clock)))
            case kind:
                answer = refusal(_STATUSES[kind], fault, fault.retry_after_s, self._clock)
                await stream.send_all(render_answer(http, answer))


async def _drip(stream: Stream, data: bytes, drip_s: float) -> None:
    for position in range(len(data)):
        await stream.send_all(data[position : position + 1])
        await trio.sleep(drip_s)
