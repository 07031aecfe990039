"""How a connection ends, as a client sees it on the wire."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from wsproto.events import CloseConnection

from trio_collector.simulator import Fault, Kind, Simulator
from trio_collector.simulator.faults.malformed import MALFORMED
from trio_collector.simulator.net.frames import Fate

WithFaults = Callable[..., Awaitable[Simulator]]
Connect = Callable[[Simulator, str], Awaitable[Any]]

CLOSES = {
    Kind.CLOSE_1000: "close 1000 why",
    Kind.CLOSE_1001: "close 1001 why",
    Kind.CLOSE_1008: "close 1008 why",
    Kind.CLOSE_1011: "close 1011 why",
    Kind.CLOSE_1012: "close 1012 why",
    Kind.CLOSE_1013: "close 1013 why",
    Kind.CLOSE_4000: "close 4000 why",
}


async def sent_on(simulator: Simulator, connection: int) -> list[bytes]:
    """Return what a connection could read, once what has left is recorded."""
    await trio.testing.wait_all_tasks_blocked()
    return [
        entry.payload
        for entry in simulator.sent.entries
        if entry.connection == connection and entry.fate is Fate.SENT
    ]


@pytest.mark.parametrize("kind", CLOSES)
async def test_close_codes(with_faults: WithFaults, connect: Connect, kind: Kind) -> None:
    """After the n-th message of data comes the close frame, and what is recorded as sent came."""
    simulator = await with_faults(
        Fault(kind=kind, exchange="okx", connection=1, after_messages=20, reason="why")
    )
    client = await connect(simulator, "okx")
    assert await client.hear_to_the_end() == CLOSES[kind]
    assert client.data == await sent_on(simulator, 1)
    assert len(client.data) == 20
    again = await connect(simulator, "okx")
    assert len(await again.hear(50)) == 50


async def test_close_without_a_code(with_faults: WithFaults, connect: Connect) -> None:
    """A close frame may be empty: 1005 to the client."""
    simulator = await with_faults(Fault(kind=Kind.CLOSE_1005, after_messages=3))
    client = await connect(simulator, "okx")
    assert await client.hear_to_the_end() == "close 1005"


async def test_another_close_code(with_faults: WithFaults, connect: Connect) -> None:
    """Codes of exchanges begin at 4000."""
    simulator = await with_faults(Fault(kind=Kind.CLOSE_4000, code=4321, after_messages=3))
    client = await connect(simulator, "upbit")
    assert await client.hear_to_the_end() == "close 4321"


@pytest.mark.parametrize("kind", MALFORMED)
async def test_protocol_errors(with_faults: WithFaults, connect: Connect, kind: Kind) -> None:
    """wsproto finds fault with each, and has read everything that is recorded as sent."""
    simulator = await with_faults(Fault(kind=kind, after_messages=20))
    client = await connect(simulator, "bybit")
    ending = await client.hear_to_the_end()
    assert ending.startswith(f"close {MALFORMED[kind].code}"), ending
    assert client.data == await sent_on(simulator, 1)
    assert len(client.data) == 20
    assert MALFORMED[kind].wire in client.received
    await client.stream.send_all(client.websocket.send(CloseConnection(1002)))
    while simulator.connections:
        await client._receive()


@pytest.mark.parametrize("is_tls", [False, True])
async def test_reset(with_faults: WithFaults, connect: Connect, is_tls: bool) -> None:
    """RST comes after everything that is recorded as sent."""
    simulator = await with_faults(Fault(kind=Kind.RESET, after_messages=50), is_tls=is_tls)
    client = await connect(simulator, "okx")
    assert await client.hear_to_the_end() == "broken: ConnectionResetError"
    assert client.data == await sent_on(simulator, 1)
    assert len(client.data) == 50


@pytest.mark.parametrize("is_tls", [False, True])
async def test_fin_without_a_close_frame(
    with_faults: WithFaults, connect: Connect, is_tls: bool
) -> None:
    """The stream just ends; over TLS without a farewell, which is an error."""
    simulator = await with_faults(Fault(kind=Kind.FIN, after_messages=50), is_tls=is_tls)
    client = await connect(simulator, "okx")
    ending = await client.hear_to_the_end()
    assert ending == ("broken: SSLEOFError" if is_tls else "fin")
    assert client.data == await sent_on(simulator, 1)


async def test_half_open(with_faults: WithFaults, connect: Connect) -> None:
    """Nothing comes any more, neither data nor pong nor FIN, and the rest is recorded as unsent."""
    simulator = await with_faults(Fault(kind=Kind.HALF_OPEN, after_messages=50))
    client = await connect(simulator, "okx")
    assert len(await client.hear(50)) == 50
    await client.say("ping")
    with trio.move_on_after(0.2) as scope:
        await client.wait(lambda client: client.controls[-1:] == [b"pong"])
    assert scope.cancelled_caught
    assert client.data == await sent_on(simulator, 1)
    assert len(simulator.connections) == 1
    assert any(fate is Fate.UNSENT for _, fate in simulator.sent.fates)


async def test_oversize(with_faults: WithFaults, connect: Connect) -> None:
    """A message above every limit begins, whether the client takes it or not."""
    simulator = await with_faults(Fault(kind=Kind.OVERSIZE, after_messages=5, size_bytes=300_000))
    client = await connect(simulator, "okx")
    await client.wait(lambda client: len(client.data) == 6)
    assert client.data[5] == b" " * 300_000
    assert client.data[:5] == await sent_on(simulator, 1)


async def test_stall(with_faults: WithFaults, connect: Connect) -> None:
    """Nothing is lost by a pause, and everything keeps its order."""
    simulator = await with_faults(Fault(kind=Kind.STALL, after_messages=5, for_s=0.1))
    before = trio.current_time()
    client = await connect(simulator, "okx")
    await client.hear(6)
    assert trio.current_time() - before > 0.1
    data = await client.hear(200)
    assert data == (await sent_on(simulator, 1))[:200]


async def test_stall_in_the_middle_of_a_frame(with_faults: WithFaults, connect: Connect) -> None:
    """Half a frame comes; the other half not before its time."""
    simulator = await with_faults(Fault(kind=Kind.STALL_MID_FRAME, after_messages=5))
    client = await connect(simulator, "okx")
    await client.hear(5)
    with trio.move_on_after(0.2):
        await client.hear(6)
    assert len(client.data) == 5
    assert not client.received.endswith(client.data[-1])
    assert client.data == await sent_on(simulator, 1)


async def test_drip(with_faults: WithFaults, connect: Connect) -> None:
    """One frame comes byte by byte; the client has to put it together."""
    simulator = await with_faults(
        Fault(kind=Kind.DRIP, after_messages=5, data_type="trade", drip_s=0.001)
    )
    client = await connect(simulator, "okx")
    sizes: list[int] = []
    while len(client.data) < 50:
        before = len(client.received)
        await client._listen()
        sizes.append(len(client.received) - before)
    assert sizes.count(1) > 20
    assert client.data[:50] == (await sent_on(simulator, 1))[:50]


async def test_late_feed(with_faults: WithFaults, connect: Connect) -> None:
    """Everything comes late, and in order; then in time again."""
    simulator = await with_faults(
        Fault(kind=Kind.LATE_FEED, after_messages=5, delay_s=0.1, for_s=0.2)
    )
    client = await connect(simulator, "okx")
    await client.hear(400)
    assert client.data[:400] == (await sent_on(simulator, 1))[:400]


async def test_day_cut(with_faults: WithFaults, connect: Connect) -> None:
    """At an age each connection of the exchange is closed, and others are not."""
    simulator = await with_faults(Fault(kind=Kind.DAY_CUT, exchange="okx", after_s=0.05))
    old, other = await connect(simulator, "okx"), await connect(simulator, "bybit")
    assert await old.hear_to_the_end() == "close 1001"
    new = await connect(simulator, "okx")
    assert await new.hear_to_the_end() == "close 1001"
    assert len(await other.hear(10)) == 10


@pytest.mark.parametrize(
    ("exchange", "mark"), [("binance", b"serverShutdown"), ("okx", b'"code":"64008"')]
)
async def test_notice(
    with_faults: WithFaults, connect: Connect, exchange: str, mark: bytes
) -> None:
    """A notice comes in the exchange's words, data goes on, and after the lead time comes the cut."""
    simulator = await with_faults(Fault(kind=Kind.NOTICE, after_messages=10, lead_s=0.1))
    client, spared = await connect(simulator, exchange), await connect(simulator, "bybit")
    assert await client.hear_to_the_end() == "close 1001"
    messages = client.received
    assert mark in messages
    notices = [each for each in client.controls + client.data if mark in each]
    assert len(notices) == 1
    after = messages[messages.index(mark) :]
    assert after.count(b"trade") > 1
    assert len(await spared.hear(500)) == 500
    assert [each.exchange for each in simulator.injected_faults] == [exchange]


async def test_all_connections_are_cut_at_a_moment(
    with_faults: WithFaults, connect: Connect
) -> None:
    """A fault at a moment concerns connections that are open then, and none that comes later."""
    simulator = await with_faults()
    there = [await connect(simulator, "okx") for _ in range(3)]
    assert simulator.injected_faults == []
    simulator.inject(Fault(kind=Kind.RESET, exchange="okx"))
    for client in there:
        assert await client.hear_to_the_end() == "broken: ConnectionResetError"
    late = await connect(simulator, "okx")
    assert len(await late.hear(100)) == 100
    assert sorted(each.connection for each in simulator.injected_faults) == [1, 2, 3]


async def test_injected(with_faults: WithFaults, connect: Connect) -> None:
    """A fault that is injected happens now, to who is there and is meant."""
    simulator = await with_faults()
    okx, bybit = await connect(simulator, "okx"), await connect(simulator, "bybit")
    await okx.hear(5)
    simulator.inject(Fault(kind=Kind.CLOSE_1012, exchange="okx"))
    assert await okx.hear_to_the_end() == "close 1012"
    assert okx.data == await sent_on(simulator, 1)
    assert len(await bybit.hear(100)) == 100
    with pytest.raises(ValueError, match="has no use for it"):
        simulator.inject(Fault(kind=Kind.CLOSE_1012, retry_after_s=5))
    with pytest.raises(ValueError, match="needs has_own_ports"):
        simulator.inject(Fault(kind=Kind.REFUSED, exchange="okx"))
    with pytest.raises(ValueError, match="needs is_tls"):
        simulator.inject(Fault(kind=Kind.TLS_EXPIRED))
