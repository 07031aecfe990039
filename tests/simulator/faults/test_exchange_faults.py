"""Faults of whole exchanges, as clients see them."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from trio_collector.simulator import Fault, Kind, Simulator

WithFaults = Callable[..., Awaitable[Simulator]]
Connect = Callable[[Simulator, str], Awaitable[Any]]

OKX = "/okx/ws/v5/public"


async def wait_refused(simulator: Simulator, dial: Connect) -> None:
    """Connect until nobody listens."""
    while True:
        try:
            await dial(simulator, "okx")
        except OSError:  # trio's own, around ECONNREFUSED
            return


async def wait_served(simulator: Simulator, connect: Connect) -> Any:
    """Connect until somebody listens."""
    while True:
        try:
            return await connect(simulator, "okx")
        except OSError:
            await trio.sleep(0.01)


async def test_down_and_back(with_faults: WithFaults, connect: Connect, dial: Connect) -> None:
    """All of an exchange's connections are reset, nobody listens for a while, and then it is back."""
    simulator = await with_faults(Fault(kind=Kind.VENUE_DOWN, exchange="okx", at_s=60))
    there = [await connect(simulator, "okx") for _ in range(2)]
    other = await connect(simulator, "bybit")
    url = simulator.base_url("okx")
    simulator.inject(Fault(kind=Kind.VENUE_DOWN, exchange="okx", for_s=1))
    for client in there:
        assert await client.hear_to_the_end() == "broken: ConnectionResetError"
    await wait_refused(simulator, dial)
    by_main_port = await trio.open_tcp_stream("127.0.0.1", simulator.port)
    async with by_main_port:
        client = type(other)(by_main_port)
        await client.shake_hands(OKX)
        assert client.ending == "broken: ConnectionResetError"
    again = await wait_served(simulator, connect)
    assert await again.hear(10)
    assert simulator.base_url("okx") == url
    assert len(await other.hear(100)) == 100


async def test_nobody_listens(with_faults: WithFaults, connect: Connect, dial: Connect) -> None:
    """Connects are refused by the kernel; who is connected stays so."""
    simulator = await with_faults(Fault(kind=Kind.LISTENER_CLOSED, exchange="okx", at_s=60))
    there = await connect(simulator, "okx")
    await there.hear(1)
    simulator.inject(Fault(kind=Kind.LISTENER_CLOSED, exchange="okx", for_s=0.2))
    await wait_refused(simulator, dial)
    await wait_served(simulator, connect)
    assert len(await there.hear(200)) == 200
    assert there.ending == ""


def time_ms(exchange: str, message: bytes) -> int:
    body = json.loads(message)
    match exchange:
        case "binance":
            return int(body["data"]["E"])
        case "upbit":
            return int(body["tms"])
        case "okx":
            return int(body["data"][0]["ts"])
        case "bybit":
            return int(body["ts"])
    return int(body["timestamp"][11:13]) * 3_600_000  # the hour will do


async def test_clock_jump(with_faults: WithFaults, connect: Connect, exchange: str) -> None:
    """Times in messages are an hour off, ids are not; then they are right again."""
    simulator = await with_faults()
    client = await connect(simulator, exchange)
    await client.hear(20)
    simulator.inject(
        Fault(kind=Kind.CLOCK_JUMP, exchange=exchange, shift_s=3600, for_s=0.1)  # type: ignore[arg-type]  # a name of an exchange
    )
    await client.wait(lambda client: abs(shift(client, exchange)) > 3_000_000)
    await client.wait(lambda client: abs(shift(client, exchange)) < 3_000_000)
    assert client.ending == ""


def shift(client: Any, exchange: str) -> int:
    """Return how far the time of the latest message is from that of the first."""
    return time_ms(exchange, client.data[-1]) - time_ms(exchange, client.data[1])


@pytest.mark.parametrize("name", ["okx", "bybit"])
async def test_each_exchange_has_a_port_of_its_own(
    with_faults: WithFaults, connect: Connect, name: str
) -> None:
    """With a script, or if asked for, base URLs name a port of the exchange alone."""
    simulator = await with_faults(has_own_ports=True)
    ports = {simulator.base_url(each) for each in ("okx", "bybit")}
    assert len(ports) == 2
    assert str(simulator.port) not in "".join(ports)
    assert await (await connect(simulator, name)).hear(1)
