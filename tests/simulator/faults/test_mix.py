"""All faults of connections and messages at random: the record is what clients heard."""

import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from wsproto.events import CloseConnection

from trio_collector.simulator import EXCHANGES, Entry, Fault, Kind, Simulator
from trio_collector.simulator.faults.catalog import CATALOG, Stage
from trio_collector.simulator.net.frames import Fate

WithFaults = Callable[..., Awaitable[Simulator]]
Connect = Callable[[Simulator, str], Awaitable[Any]]

ON_THE_WIRE = (Fate.SENT, Fate.REPEATED, Fate.LATE, Fate.SPOILED, Fate.FOREIGN)
LIVES = 8  # connections of each exchange, one after the other, at least
KINDS = 11  # of faults that have to happen, at least
ENDS = 4  # of connections that the simulator has to end, at least
MOST_MESSAGES = 1_000  # then a client leaves
PATIENCE_S = 0.25  # then a client leaves by itself, as one does that hears nothing
LIMIT_S = 60.0  # for all that may happen; a quiet machine needs 3 s
NOT_MIXED = {
    Kind.DAY_CUT,  # a day
    Kind.ACK_REFUSED,  # nothing comes at all
    Kind.ACK_SILENT,
    Kind.NOTICE,  # its words are heard as data
    Kind.OVERSIZE,
}


def rate_of(kind: Kind) -> float:
    """Return how often a fault happens: those that end a connection seldom."""
    return 0.01 if CATALOG[kind].stage is Stage.MESSAGE else 0.0005


def mixed() -> list[Fault]:
    stages = (Stage.CONNECTION, Stage.MESSAGE)
    kinds = [kind for kind in Kind if CATALOG[kind].stage in stages and kind not in NOT_MIXED]
    options: dict[Kind, dict[str, Any]] = {
        Kind.DRIP: {"drip_s": 0.0001},
        Kind.STALL: {"for_s": 0.02},
        Kind.STALL_MID_FRAME: {"for_s": 0.02},
        Kind.LATE_FEED: {"for_s": 0.05, "delay_s": 0.02},
        Kind.SILENT_FEED: {"for_s": 0.05},
    }
    return [Fault(kind=kind, rate=rate_of(kind), **options.get(kind, {})) for kind in kinds]


class Hearing:
    """What clients heard of a simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.clients: list[tuple[int, Any]] = []  # with the numbers of their connections

    @property
    def ended(self) -> list[tuple[int, Any]]:
        """The clients that were told an end, and so heard all."""
        return [
            (number, client)
            for number, client in self.clients
            if client.ending and len(client.data) < MOST_MESSAGES
        ]

    @property
    def is_enough(self) -> bool:
        """Whether all that may happen has happened.

        The dice are thrown for each message, and a slow machine has fewer of them in the same time.
        """
        sent = self.simulator.sent
        return (
            {entry.fate for entry in sent.entries} == set(Fate)
            and len({each.kind for each in self.simulator.injected_faults}) >= KINDS
            and len(self.ended) >= ENDS
        )


async def live(hearing: Hearing, connect: Connect, exchange: str) -> None:
    """Have one connection after the other, each until it ends or says nothing more."""
    simulator = hearing.simulator
    for life in itertools.count():
        if life >= LIVES and hearing.is_enough:
            return
        client = await connect(simulator, exchange)
        info = [each for each in simulator.sent.connections if each.exchange == exchange][-1]
        hearing.clients.append((info.id, client))
        with trio.move_on_after(PATIENCE_S):
            await client.hear(MOST_MESSAGES)
        if client.ending.startswith("close"):
            await leave(client)
        await trio.aclose_forcefully(client.stream)


async def leave(client: Any) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        await client.stream.send_all(client.websocket.send(CloseConnection(1000)))


def wire_payloads(entries: list[Entry]) -> list[bytes]:
    """Return the messages that entries say came; one of several streams came once."""
    came = {entry.number: entry.payload for entry in entries if entry.fate in ON_THE_WIRE}
    return list(came.values())


@pytest.mark.parametrize("is_tls", [False, True])
async def test_clients_heard_what_is_recorded(
    with_faults: WithFaults, connect: Connect, is_tls: bool
) -> None:
    """On every connection the client heard the beginning of the record, and all, if the simulator ended it."""
    simulator = await with_faults(
        *mixed(), is_tls=is_tls, books_per_s=300, trades_per_s=200, tick_s=0.01
    )
    hearing = Hearing(simulator)
    with trio.move_on_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            for exchange in EXCHANGES:
                nursery.start_soon(live, hearing, connect, exchange)
    await trio.testing.wait_all_tasks_blocked()
    of_connection: dict[int, list[Entry]] = {}
    for entry in simulator.sent.entries:
        of_connection.setdefault(entry.connection, []).append(entry)
    for number, client in hearing.clients:
        came = wire_payloads(of_connection.get(number, []))
        assert client.data == came[: len(client.data)], simulator.sent.connections[number - 1]
    for number, client in hearing.ended:
        came = wire_payloads(of_connection.get(number, []))
        assert client.data == came, (simulator.sent.connections[number - 1], client.ending)
    assert len(hearing.clients) >= LIVES * len(EXCHANGES)
    assert len(hearing.ended) >= ENDS
    assert len({each.kind for each in simulator.injected_faults}) >= KINDS
    assert {entry.fate for entry in simulator.sent.entries} == set(Fate)
