"""A proxy that cuts connections between a client and a real server without faults.

It forwards bytes without reading them. The dice of a seed draw a plan for each connection: no fault,
or one fault after so many bytes in one direction.
"""

import enum
import math
import random

import msgspec
import structlog
import trio

from trio_collector.simulator.net.connection_end import set_reset

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536


class Cut(enum.StrEnum):
    """The fault of a connection."""

    REFUSED = "refused"  # ends as soon as it is accepted
    CUT_REQUEST = "cut_request"  # ends after some bytes from the client
    RESET_REQUEST = "reset_request"  # the same, by an RST
    STALL = "stall"  # nothing is forwarded any more, after some bytes from the client
    LOST_REPLY = "lost_reply"  # ends when the server answers
    CUT_REPLY = "cut_reply"  # ends after some bytes from the server
    DRIP = "drip"  # the server's bytes come one by one
    DELAY = "delay"  # everything is forwarded late; nothing is lost


class CutScript(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the connections fail (`rate`), and by what; the same seed draws the same plans."""

    rate: float = 0.0
    kinds: tuple[Cut, ...] = tuple(Cut)
    seed: int = 0
    request_bytes: int = 65_536  # a request is cut within the first so many bytes
    reply_bytes: int = 256
    drip_s: float = 1.0
    delay_s: float = 0.05
    stall_s: float = math.inf  # then the connection ends


class CutPlan(msgspec.Struct, frozen=True):
    """The fault of one connection, and how much is forwarded before it."""

    cut: Cut | None = None
    request_bytes: float = math.inf
    reply_bytes: float = math.inf
    drip_s: float = 0.0
    delay_s: float = 0.0


def draw_plan(script: CutScript, dice: random.Random) -> CutPlan:
    """Return the plan of the next connection."""
    if dice.random() >= script.rate:
        return CutPlan()
    cut = dice.choice(script.kinds)
    match cut:
        case Cut.CUT_REQUEST | Cut.RESET_REQUEST | Cut.STALL:
            return CutPlan(cut, request_bytes=dice.randrange(script.request_bytes))
        case Cut.LOST_REPLY:
            return CutPlan(cut, reply_bytes=0)
        case Cut.CUT_REPLY:
            return CutPlan(cut, reply_bytes=dice.randrange(1, script.reply_bytes))
        case Cut.DRIP:
            return CutPlan(cut, drip_s=script.drip_s)
        case Cut.DELAY:
            return CutPlan(cut, delay_s=script.delay_s)
        case Cut.REFUSED:
            return CutPlan(cut)


class Proxy:
    """A running proxy; `plans` has one for every connection so far."""

    def __init__(self, target: tuple[str, int], script: CutScript) -> None:
        self.port = 0
        self.plans: list[CutPlan] = []
        self._target = target
        self.set_script(script)

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def faults(self) -> int:
        """How many connections had a fault so far."""
        return sum(plan.cut is not None for plan in self.plans)

    def set_script(self, script: CutScript) -> None:
        """Draw the plans of new connections from `script`."""
        self._script = script
        self._dice = random.Random(script.seed)

    async def serve_client(self, client: trio.SocketStream) -> None:
        """Forward one connection, which the caller closes."""
        plan = draw_plan(self._script, self._dice)
        self.plans.append(plan)
        if plan.cut is Cut.REFUSED:
            return
        try:
            server = await trio.open_tcp_stream(*self._target)
        except OSError as exc:
            log.info("no server behind the proxy", error=str(exc))
            return
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(self._forward, nursery.cancel_scope, client, server, plan)
            await _pump(server, client, plan.reply_bytes, plan)
            nursery.cancel_scope.cancel()
        if plan.cut is Cut.RESET_REQUEST:
            set_reset(client)

    async def _forward(
        self,
        connection: trio.CancelScope,
        client: trio.SocketStream,
        server: trio.SocketStream,
        plan: CutPlan,
    ) -> None:
        """Forward what the client sends; the connection ends with this."""
        is_cut = await _pump(client, server, plan.request_bytes, CutPlan(delay_s=plan.delay_s))
        if is_cut and plan.cut is Cut.STALL:
            await trio.sleep(self._script.stall_s)
        connection.cancel()


async def _pump(
    source: trio.SocketStream, sink: trio.SocketStream, limit_bytes: float, plan: CutPlan
) -> bool:
    """Forward up to `limit_bytes`; True if that was the end, False if one of the two left."""
    forwarded = 0
    try:
        while chunk := await source.receive_some(CHUNK_BYTES):
            part = bytes(chunk[: int(min(limit_bytes - forwarded, len(chunk)))])
            await trio.sleep(plan.delay_s)
            await _send(sink, part, plan.drip_s)
            forwarded += len(part)
            if forwarded >= limit_bytes:
                return True
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    return False


async def _send(sink: trio.SocketStream, chunk: bytes, drip_s: float) -> None:
    if not drip_s:
        await sink.send_all(chunk)
        return
    for position in range(len(chunk)):
        await sink.send_all(chunk[position : position + 1])
        await trio.sleep(drip_s)


async def serve_proxy(
    target: tuple[str, int],
    script: CutScript,
    *,
    task_status: trio.TaskStatus[Proxy] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Forward connections to the host and port `target` until cancelled; started with the proxy."""
    proxy = Proxy(target, script)
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    proxy.port = listener.socket.getsockname()[1]
    task_status.started(proxy)
    await trio.serve_listeners(proxy.serve_client, [listener])
