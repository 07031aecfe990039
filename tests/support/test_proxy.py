"""The proxy forwards what it is not told to cut, and cuts what it is."""

import contextlib
import random
from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.support.proxy import Cut, CutScript, Proxy, draw_plan, serve_proxy

REPLY = b"pong" * 25
REQUEST = b"ping" * 25_000


@pytest.fixture
def start_proxy(nursery: trio.Nursery) -> Callable[[CutScript], Awaitable[Proxy]]:
    """Start a proxy in front of a server that answers each whole REQUEST with REPLY."""

    async def answer(stream: trio.SocketStream) -> None:
        received = 0
        async for chunk in stream:
            received += len(chunk)
            if received == len(REQUEST):
                received = 0
                await stream.send_all(REPLY)

    async def start(script: CutScript) -> Proxy:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        port = listener.socket.getsockname()[1]
        proxy = await nursery.start(serve_proxy, ("127.0.0.1", port), script)
        assert isinstance(proxy, Proxy)
        return proxy

    return start


async def ask(proxy: Proxy) -> bytes:
    """Send REQUEST, and return what comes until REPLY is whole or the connection ends."""
    stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
    received = b""
    async with stream:
        await stream.send_all(REQUEST)
        while len(received) < len(REPLY) and (chunk := await stream.receive_some()):
            received += chunk
    return received


@pytest.mark.parametrize("cut", [None, Cut.DELAY, Cut.DRIP])
async def test_whole(cut: Cut | None, start_proxy: Callable[..., Awaitable[Proxy]]) -> None:
    """Late or byte by byte, an answer comes whole."""
    kinds = () if cut is None else (cut,)
    script = CutScript(rate=len(kinds), kinds=kinds, drip_s=0, delay_s=0.001)
    assert await ask(await start_proxy(script)) == REPLY


@pytest.mark.parametrize(
    "cut", [Cut.REFUSED, Cut.CUT_REQUEST, Cut.RESET_REQUEST, Cut.LOST_REPLY, Cut.CUT_REPLY]
)
async def test_cut(cut: Cut, start_proxy: Callable[..., Awaitable[Proxy]]) -> None:
    """A connection that is cut has no whole answer; the next one may."""
    proxy = await start_proxy(CutScript(rate=1, kinds=(cut,), reply_bytes=len(REPLY)))
    try:
        assert len(await ask(proxy)) < len(REPLY)
    except trio.BrokenResourceError:
        assert cut is not Cut.CUT_REPLY
    proxy.set_script(CutScript())
    assert await ask(proxy) == REPLY
    assert [plan.cut for plan in proxy.plans] == [cut, None]
    assert proxy.faults == 1


async def test_stall(start_proxy: Callable[..., Awaitable[Proxy]]) -> None:
    """A connection that stalls says nothing until the client gives up, or `stall_s` is over."""
    proxy = await start_proxy(CutScript(rate=1, kinds=(Cut.STALL,), request_bytes=1000))
    with trio.move_on_after(0.2) as patience:
        await ask(proxy)
    assert patience.cancelled_caught
    proxy.set_script(CutScript(rate=1, kinds=(Cut.STALL,), request_bytes=1000, stall_s=0))
    with contextlib.suppress(trio.BrokenResourceError):
        assert await ask(proxy) == b""


def test_courses() -> None:
    """The same seed makes the same plans, and as many faults as asked for."""
    script = CutScript(rate=0.6)
    plans = [[draw_plan(script, dice) for _ in range(1000)] for dice in map(random.Random, (3, 3))]
    assert plans[0] == plans[1]
    faults = [plan.cut for plan in plans[0] if plan.cut is not None]
    assert 550 < len(faults) < 650
    assert set(faults) == set(Cut)
