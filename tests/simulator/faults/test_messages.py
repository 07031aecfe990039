"""What becomes of single messages of data, as a client sees it and as the record tells it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import trio.testing

from trio_collector.config.markets import Market
from trio_collector.errors import UnreadableFrame
from trio_collector.exchanges import create_adapter
from trio_collector.simulator import DEFAULT_EXCHANGES, Entry, Fault, Kind, Simulator
from trio_collector.simulator.faults.corruption import CORRUPTIONS
from trio_collector.simulator.net.frames import Fate, StreamKey

WithFaults = Callable[..., Awaitable[Simulator]]
Connect = Callable[[Simulator, str], Awaitable[Any]]

UNPARSED = StreamKey("bybit", "", "unparsed")
READABLE = (Fate.SENT, Fate.REPEATED, Fate.LATE)
ON_THE_WIRE = (*READABLE, Fate.SPOILED)


async def entries(simulator: Simulator) -> list[Entry]:
    """Return the record of connection 1, once what has left is recorded."""
    simulator.pause()
    await simulator.wait_sent()
    await trio.testing.wait_all_tasks_blocked()
    return [entry for entry in simulator.sent.entries if entry.connection == 1]


async def hear_all(simulator: Simulator, client: Any) -> list[Entry]:
    """Return the record, once the client has heard everything that it says came."""
    recorded = await entries(simulator)
    await client.hear(len(unique([entry for entry in recorded if entry.fate in ON_THE_WIRE])))
    return recorded


def book_ids(recorded: list[Entry]) -> list[tuple[int, int]]:
    return [entry.ids for entry in recorded if entry.stream.data_type == "orderbook" and entry.ids]


@pytest.mark.parametrize("kind", CORRUPTIONS)
async def test_spoiled(
    with_faults: WithFaults, connect: Connect, exchange: Any, kind: Kind
) -> None:
    """No adapter can read what comes instead; the connection goes on with the next message."""
    simulator = await with_faults(Fault(kind=kind, exchange=exchange, after_messages=10))
    client = await connect(simulator, exchange)
    await client.hear(50)
    recorded = await hear_all(simulator, client)
    (spoiled,) = simulator.sent.spoiled[exchange]
    assert spoiled in client.data
    assert next(each.payload for each in recorded if each.fate is Fate.SPOILED) == spoiled
    with pytest.raises(UnreadableFrame):
        adapter_of(exchange).parse_message(spoiled)
    assert client.data == unique([each for each in recorded if each.fate in ON_THE_WIRE])


def adapter_of(exchange: str) -> Any:
    fields = {"exchange": exchange, "symbols": DEFAULT_EXCHANGES[exchange]}
    return create_adapter(msgspec.convert(fields, Market))


def unique(recorded: list[Entry]) -> list[bytes]:
    """Return the payloads; one of two streams is there once."""
    return list({entry.number: entry.payload for entry in recorded}.values())


@pytest.mark.parametrize("kind", CORRUPTIONS)
async def test_spoiled_beside_the_data(
    with_faults: WithFaults, connect: Connect, kind: Kind
) -> None:
    """An extra message takes nothing away: the ids of the data go on without a gap."""
    simulator = await with_faults(
        Fault(kind=kind, after_messages=10, data_type="orderbook", is_extra=True)
    )
    client = await connect(simulator, "bybit")
    await client.hear(50)
    recorded = await hear_all(simulator, client)
    (spoiled,) = simulator.sent.spoiled["bybit"]
    assert spoiled in client.data
    ids = [first for first, _ in book_ids(recorded)]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    (entry,) = [entry for entry in recorded if entry.fate is Fate.SPOILED]
    assert entry == Entry(entry.number, 1, UNPARSED, Fate.SPOILED, spoiled, None)


async def test_lost(with_faults: WithFaults, connect: Connect) -> None:
    """The exchange's ids go on; the record has what is missing, in its place, with its ids."""
    simulator = await with_faults(
        Fault(kind=Kind.LOST, after_messages=10, symbol="btcusdt", data_type="orderbook")
    )
    client = await connect(simulator, "bybit")
    await client.hear(50)
    recorded = await hear_all(simulator, client)
    (missing,) = [entry for entry in recorded if entry.fate is Fate.LOST]
    assert client.data == [entry.payload for entry in recorded if entry.fate is Fate.SENT]
    assert missing.ids
    heard = [json.loads(each)["data"]["u"] for each in client.data if b"orderbook" in each]
    whole = list(range(heard[0], heard[-1] + 1))
    assert [number for number in whole if number not in heard] == [missing.ids[0]]
    assert simulator.sent.fates[missing.stream, Fate.LOST] == 1


async def test_duplicate(with_faults: WithFaults, connect: Connect, exchange: str) -> None:
    """The same message comes twice in a row."""
    simulator = await with_faults(Fault(kind=Kind.DUPLICATE, after_messages=10))
    client = await connect(simulator, exchange)
    await client.hear(30)
    recorded = await hear_all(simulator, client)
    repeated = [place for place, each in enumerate(recorded) if each.fate is Fate.REPEATED]
    assert recorded[repeated[0]].payload in client.data
    again = recorded[repeated[0]].payload
    place = client.data.index(again)
    assert client.data[place : place + 2] == [again, again]


async def test_repeated(with_faults: WithFaults, connect: Connect) -> None:
    """The latest messages come again, in their order."""
    simulator = await with_faults(Fault(kind=Kind.REPEATED, after_messages=10, repeats=4))
    client = await connect(simulator, "okx")
    data = await client.hear(40)
    assert data[11:15] == data[7:11]
    assert len(set(data)) == 36
    recorded = await entries(simulator)
    fates = [entry.fate for entry in recorded][:16]
    assert fates == [Fate.SENT] * 11 + [Fate.REPEATED] * 4 + [Fate.SENT]


async def test_reordered(with_faults: WithFaults, dial: Connect) -> None:
    """Two later messages overtake one."""
    simulator = await with_faults(Fault(kind=Kind.REORDERED, after_messages=10, behind=2))
    client = await dial(simulator, "bybit")
    await client.shake_hands("/bybit/v5/public/spot")
    await client.say({"op": "subscribe", "args": ["orderbook.50.BTCUSDT"]})
    await client.hear(60)
    recorded = await hear_all(simulator, client)
    assert client.data == [entry.payload for entry in recorded]
    ids = [first for first, _ in book_ids(recorded)]
    assert ids[9:14] == [ids[9], ids[9] + 2, ids[9] + 3, ids[9] + 1, ids[9] + 4]
    assert [entry.fate for entry in recorded][9:14] == [Fate.SENT] * 3 + [Fate.LATE, Fate.SENT]


async def test_fragmented(with_faults: WithFaults, connect: Connect, exchange: str) -> None:
    """A fragmented message is a message, with a ping in its middle; nothing is wrong with it."""
    simulator = await with_faults(Fault(kind=Kind.FRAGMENTED, rate=0.2, fragments=4))
    client = await connect(simulator, exchange)
    await client.hear(60)
    recorded = await hear_all(simulator, client)
    assert b"\x89\x04part" in client.received
    assert client.data == unique(recorded)
    assert {entry.fate for entry in recorded} == {Fate.SENT}


async def test_extra_fields(with_faults: WithFaults, connect: Connect, exchange: str) -> None:
    """A field that nobody knows leaves a message as readable as before."""
    simulator = await with_faults(Fault(kind=Kind.EXTRA_FIELDS, after_messages=5))
    client = await connect(simulator, exchange)
    await client.hear(20)
    (strange,) = [each for each in client.data if b"simulatorField" in each]
    known = json.loads(strange)
    del known["simulatorField"]
    adapter = adapter_of(exchange)
    assert adapter.parse_message(strange) == adapter.parse_message(json.dumps(known).encode())


async def test_unknown_type(with_faults: WithFaults, connect: Connect, exchange: str) -> None:
    """A message of another type comes among the data, and adapters say so."""
    simulator = await with_faults(Fault(kind=Kind.UNKNOWN_TYPE, after_messages=5))
    client = await connect(simulator, exchange)
    await client.hear(60)
    (strange,) = [each for each in client.data if b"imulator" in each]
    parsed = adapter_of(exchange).parse_message(strange)
    assert any(type(item).__name__ == "UnknownMessage" for item in parsed)
    recorded = await entries(simulator)
    nobody = StreamKey(exchange, "", "unparsed")
    (entry,) = [entry for entry in recorded if entry.fate is Fate.FOREIGN]
    assert [entry.payload, entry.stream] == [strange, nobody]
    assert simulator.sent.foreign == {exchange: [strange]}


async def test_at_random(with_faults: WithFaults, connect: Connect) -> None:
    """The dice of a seed choose a share of the messages, others on each connection."""
    simulator = await with_faults(Fault(kind=Kind.LOST, rate=0.2))
    first, second = await connect(simulator, "okx"), await connect(simulator, "okx")
    await first.hear(400)
    await second.hear(400)
    both: list[list[int]] = []
    for connection in (1, 2):
        fates = [each.fate for each in simulator.sent.entries if each.connection == connection]
        lost = [place for place, fate in enumerate(fates[:400]) if fate is Fate.LOST]
        assert 40 < len(lost) < 130
        both.append(lost)
    assert both[0] != both[1]


async def test_at_most_so_often(with_faults: WithFaults, connect: Connect) -> None:
    """`times` counts over all connections."""
    simulator = await with_faults(Fault(kind=Kind.LOST, rate=1, times=7))
    clients = [await connect(simulator, "okx") for _ in range(2)]
    for client in clients:
        await client.hear(20)
    assert sum(entry.fate is Fate.LOST for entry in simulator.sent.entries) == 7
