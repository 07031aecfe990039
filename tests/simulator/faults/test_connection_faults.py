"""The faults of a connection in a time of its own, without sockets."""

import math
from collections.abc import Iterator

import pytest

from trio_collector.simulator import Fault, InjectedFault, Kind, Simulation
from trio_collector.simulator.conversation import Conversation
from trio_collector.simulator.faults.action import Action, ActionKind, Item
from trio_collector.simulator.faults.connection_faults import ConnectionFaults
from trio_collector.simulator.faults.trigger import ArmedFault
from trio_collector.simulator.net.frames import Fate, Frame, Opcode
from trio_collector.simulator.record import ConnectionInfo

BYBIT = "/bybit/v5/public/spot"
BOOKS = '{"op":"subscribe","args":["orderbook.50.BTCUSDT"]}'
STEP_S = 0.02


class Played:
    """A conversation whose frames go through a faults; `now_s` is its time."""

    def __init__(self, *faults: Fault) -> None:
        self.conversation = Conversation(BYBIT, Simulation(books_per_s=100, trades_per_s=0))
        self.injected_faults: list[InjectedFault] = []
        info = ConnectionInfo(1, "bybit", BYBIT, 1, 0.0)
        self.faults = ConnectionFaults(self.conversation.dialect, info, self.injected_faults.append)
        for place, fault in enumerate(faults):
            self.faults.add(ArmedFault(fault, str(place)))
        self.now_s = 0.0

    def say(self, text: str) -> list[Item]:
        self.faults.tick(self.now_s)
        return self.faults.apply(self.conversation.say(text), self.now_s)

    def wait(self, wait_s: float) -> list[Item]:
        return [item for _, item in self.timed(wait_s)]

    def timed(self, wait_s: float) -> Iterator[tuple[float, Item]]:
        """Yield what comes within `wait_s`, and when."""
        for _ in range(round(wait_s / STEP_S)):
            self.now_s += STEP_S
            self.faults.tick(self.now_s)
            frames = self.conversation.wait(int(STEP_S * 1_000))
            for item in self.faults.apply(frames, self.now_s):
                yield self.now_s, item


def fates(items: list[Item]) -> list[Fate]:
    return [item.fate for item in items if isinstance(item, Frame) and item.streams]


@pytest.mark.parametrize("kind", [Kind.SILENT_FEED])
def test_silence_ends(kind: Kind) -> None:
    """A silence of 2 s after 1 s: the frames of that time are lost, those around it are not."""
    played = Played(Fault(kind=kind, after_s=1, for_s=2))
    played.say(BOOKS)
    assert set(fates(played.wait(0.9))) == {Fate.SENT}
    played.wait(0.2)
    assert set(fates(played.wait(1.8))) == {Fate.LOST}
    played.wait(0.2)
    assert set(fates(played.wait(1))) == {Fate.SENT}


@pytest.mark.parametrize("kind", [Kind.NO_TEXT_PONG, Kind.ACK_REFUSED, Kind.NO_ACK])
def test_bad_manners_end(kind: Kind) -> None:
    """What lasts for a time is over after it."""
    played = Played(Fault(kind=kind, for_s=2))
    request = '{"op":"ping"}' if kind is Kind.NO_TEXT_PONG else BOOKS

    def answers() -> list[bytes]:
        items = played.say(request)
        return [
            item.payload
            for item in items
            if isinstance(item, Frame) and not item.streams and b'"success":true' in item.payload
        ]

    assert answers() == []
    played.say('{"op":"unsubscribe","args":["orderbook.50.BTCUSDT"]}')
    played.wait(2.1)
    assert len(answers()) == 1


def test_a_late_feed_keeps_its_order() -> None:
    """Everything comes 1 s late for a time, then in time again, and nothing overtakes."""
    late = Played(Fault(kind=Kind.LATE_FEED, after_s=1, delay_s=1, for_s=2))
    true = Played()
    for played in (late, true):
        played.say(BOOKS)
    told = [item for item in late.timed(6) if isinstance(item[1], Frame)]
    happened = list(true.timed(6))
    assert [item for _, item in told] == [item for _, item in happened][: len(told)]
    delays = {round(at_s - was_s, 2) for (at_s, _), (was_s, _) in zip(told, happened, strict=False)}
    assert {0.0, 1.0} <= delays
    assert late.faults.close() == []


def test_what_is_held_back_is_unsent_at_the_end() -> None:
    """A connection that ends while frames are held back has not sent them."""
    played = Played(
        Fault(kind=Kind.REORDERED, after_messages=5, behind=10**6),
        Fault(kind=Kind.LATE_FEED, after_s=1, delay_s=60),
    )
    played.say(BOOKS)
    played.wait(2)
    held = played.faults.close()
    assert len(held) > 50
    assert {frame.fate for frame in held} == {Fate.UNSENT}
    assert played.faults.close() == []


@pytest.mark.parametrize("kind", [Kind.CLOSE_1011, Kind.RESET, Kind.RSV1, Kind.HALF_OPEN])
def test_nothing_comes_after_the_end(kind: Kind) -> None:
    """In the midst of a step, the rest of it is unsent; no second fault happens."""
    played = Played(
        Fault(kind=kind, after_messages=10), Fault(kind=Kind.CLOSE_1000, after_messages=11)
    )
    played.conversation.say(BOOKS)
    items = played.wait(5)
    place = next(
        place
        for place, item in enumerate(items)
        if isinstance(item, Action) or item.opcode is Opcode.CLOSE
    )
    assert fates(items[:place]) == [Fate.SENT] * 10
    assert set(fates(items[place:])) <= {Fate.UNSENT}
    assert [each.kind for each in played.injected_faults] == [kind]


def test_stalls_are_acts_among_the_frames() -> None:
    """A stall waits for its time, or for ever, between two frames or within one."""
    played = Played(
        Fault(kind=Kind.STALL, after_messages=3, for_s=5),
        Fault(kind=Kind.STALL_MID_FRAME, after_messages=6),
    )
    played.say(BOOKS)
    actions = [item for item in played.wait(1) if isinstance(item, Action)]
    assert [(action.kind, action.seconds) for action in actions] == [
        (ActionKind.WAIT, 5),
        (ActionKind.SEND, 0),
        (ActionKind.WAIT, math.inf),
    ]


def test_injected_faults_are_noted() -> None:
    """Each injected fault is noted with its time and connection."""
    played = Played(Fault(kind=Kind.LOST, after_s=1, every_s=1))
    played.say(BOOKS)
    played.wait(3.5)
    assert [(each.kind, each.connection) for each in played.injected_faults] == [(Kind.LOST, 1)] * 3
    assert [int(each.at_s) for each in played.injected_faults] == [1, 2, 3]
