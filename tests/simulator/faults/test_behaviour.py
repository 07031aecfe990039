"""Subscriptions, acks, pings and silences that go wrong, as a client sees them."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from wsproto.events import Ping

from trio_collector.simulator import EXCHANGES, Fault, Kind, Simulator
from trio_collector.simulator.net.frames import Fate

WithFaults = Callable[..., Awaitable[Simulator]]
Connect = Callable[[Simulator, str], Awaitable[Any]]

ACKING = ("binance", "coinbase", "okx", "bybit")
TEXT_PINGS = {
    "upbit": ("PING", b'{"status":"UP"}'),
    "okx": ("ping", b"pong"),
    "bybit": ({"op": "ping"}, b'"ret_msg":"pong"'),
}
REFUSALS = {
    "binance": b'"error"',
    "coinbase": b'"type":"error"',
    "upbit": b'{"error"',
    "okx": b'"code":"60018"',
    "bybit": b'"success":false',
}


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_refused_subscriptions(
    with_faults: WithFaults, connect: Connect, exchange: str
) -> None:
    """Each exchange refuses in its own words, and sends no data."""
    simulator = await with_faults(Fault(kind=Kind.ACK_REFUSED))
    client = await connect(simulator, exchange)
    await client.wait(lambda client: any(REFUSALS[exchange] in each for each in client.controls))
    with trio.move_on_after(0.1):
        await client.hear(1)
    assert client.data == []
    assert simulator.sent.counts == {}


async def test_one_symbol_is_refused(with_faults: WithFaults, connect: Connect) -> None:
    """What is refused may be one data type of one symbol."""
    simulator = await with_faults(
        Fault(kind=Kind.ACK_REFUSED, symbol="btcusdt", data_type="orderbook")
    )
    client = await connect(simulator, "okx")
    data = await client.hear(20)
    assert all(b'"channel":"trades"' in each for each in data)
    assert sum(REFUSALS["okx"] in each for each in client.controls) == 1


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_granted_and_silent(with_faults: WithFaults, connect: Connect, exchange: str) -> None:
    """The ack comes as ever; of the books nothing does, and the record has them as lost."""
    simulator = await with_faults(Fault(kind=Kind.ACK_SILENT, data_type="orderbook"))
    client = await connect(simulator, exchange)
    await client.hear(30)
    simulator.pause()
    await simulator.wait_sent()
    (trades,) = simulator.sent.counts
    assert trades.data_type == "trade"
    books = trades._replace(data_type="orderbook")
    assert simulator.sent.fates[books, Fate.LOST] > 1
    assert bool(client.controls) == (exchange in ACKING)
    assert not any(REFUSALS[exchange] in each for each in client.controls)


@pytest.mark.parametrize("exchange", ACKING)
async def test_no_ack(with_faults: WithFaults, connect: Connect, exchange: str) -> None:
    """Data comes without an ack; Coinbase's numbers have no gap for it."""
    simulator = await with_faults(Fault(kind=Kind.NO_ACK))
    client = await connect(simulator, exchange)
    await client.hear(30)
    assert client.controls == []
    if exchange == "coinbase":
        numbers = [json.loads(each)["sequence_num"] for each in client.data]
        assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("exchange", ACKING)
async def test_late_ack(with_faults: WithFaults, connect: Connect, exchange: str) -> None:
    """Data comes first."""
    simulator = await with_faults(Fault(kind=Kind.LATE_ACK, delay_s=0.1))
    client = await connect(simulator, exchange)
    await client.hear(1)
    assert client.controls == []
    await client.wait(lambda client: client.controls)
    assert client.controls


@pytest.mark.parametrize("exchange", TEXT_PINGS)
@pytest.mark.parametrize("is_answered", [False, True])
async def test_no_pong_in_text(
    with_faults: WithFaults, connect: Connect, exchange: str, is_answered: bool
) -> None:
    """A ping goes unanswered while data goes on; without the fault it does not."""
    request, pong = TEXT_PINGS[exchange]
    simulator = await with_faults(*[] if is_answered else [Fault(kind=Kind.NO_TEXT_PONG)])
    client = await connect(simulator, exchange)
    await client.hear(1)
    await client.say(request)
    await client.hear(100)
    assert any(pong in each for each in client.controls) == is_answered


@pytest.mark.parametrize("is_answered", [False, True])
async def test_no_pong_to_frames(
    with_faults: WithFaults, connect: Connect, is_answered: bool
) -> None:
    """A ping frame goes unanswered while data goes on; without the fault it does not."""
    simulator = await with_faults(*[] if is_answered else [Fault(kind=Kind.NO_FRAME_PONG)])
    client = await connect(simulator, "upbit")
    await client.hear(1)
    await client.stream.send_all(client.websocket.send(Ping(b"are you there")))
    await client.hear(100)
    assert (b"\x8a\rare you there" in client.received) == is_answered


async def test_ping_flood(with_faults: WithFaults, connect: Connect) -> None:
    """Many pings come at once; a client that answers all of them is not punished for it."""
    simulator = await with_faults(Fault(kind=Kind.PING_FLOOD, after_messages=5, pings=300))
    client = await connect(simulator, "binance")
    await client.wait(lambda client: b"flood 299" in client.received)
    count = len(client.data)
    assert len(await client.hear(count + 100)) == count + 100
    assert client.ending == ""


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_silent_feed(with_faults: WithFaults, connect: Connect, exchange: str) -> None:
    """Books stop and trades go on; when books go on, what is between is recorded as lost."""
    simulator = await with_faults(
        Fault(kind=Kind.SILENT_FEED, after_messages=20, data_type="orderbook", for_s=0.2)
    )
    client = await connect(simulator, exchange)
    await client.hear(400)
    simulator.pause()
    await simulator.wait_sent()
    fates = [
        entry.fate for entry in simulator.sent.entries if entry.stream.data_type == "orderbook"
    ]
    first, last = fates.index(Fate.LOST), len(fates) - fates[::-1].index(Fate.LOST)
    assert set(fates[first:last]) == {Fate.LOST}
    assert set(fates[:first]) == set(fates[last:]) == {Fate.SENT}
    trades = [entry for entry in simulator.sent.entries if entry.stream.data_type == "trade"]
    assert {entry.fate for entry in trades} == {Fate.SENT}


async def test_heartbeats_go_on_in_silence(with_faults: WithFaults, connect: Connect) -> None:
    """A feed without data is not dead to who looks at heartbeats alone; their numbers go on."""
    simulator = await with_faults(Fault(kind=Kind.SILENT_FEED, exchange="coinbase"))
    client = await connect(simulator, "coinbase")
    await client.say({"type": "subscribe", "channel": "heartbeats"})
    await client.wait(
        lambda client: any(b'"heartbeats","timestamp"' in each for each in client.data)
    )
    numbers = sorted(json.loads(each)["sequence_num"] for each in (*client.controls, *client.data))
    assert numbers == list(range(len(numbers)))
    assert not any(b"l2_data" in each for each in client.data)
