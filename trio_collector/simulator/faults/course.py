"""What becomes of one connection: its frames go in, and come out as its faults want them.

Pure. `begin` is called before the dialect is asked what it has to say, `bend` with what it says,
and both with the time, about every tick. Every data frame that goes in comes out once as what
becomes of it, in its place, for the record; when nothing more can reach the client, as unsent.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.dialects.manners import Streams
from trio_collector.simulator.faults.act import Act, Deed, Item
from trio_collector.simulator.faults.alarm import Alarm, Watch
from trio_collector.simulator.faults.catalog import CATALOG, Stage
from trio_collector.simulator.faults.fault import Fault, InjectedFault, Kind
from trio_collector.simulator.faults.spoil import SPOILERS, add_field, spoil
from trio_collector.simulator.faults.wire import MALFORMED, fragmented, whole
from trio_collector.simulator.net.frames import Fate, Frame, Opcode, close_frame, head, lost, unsent
from trio_collector.simulator.record import Visit

_CLOSES = {
    Kind.CLOSE_1000: 1000,
    Kind.CLOSE_1001: 1001,
    Kind.CLOSE_1008: 1008,
    Kind.CLOSE_1011: 1011,
    Kind.CLOSE_1012: 1012,
    Kind.CLOSE_1013: 1013,
    Kind.DAY_CUT: 1001,
}
GOING_AWAY = 1001


class Course:
    """The faults of one connection; `note` gets each that happens."""

    def __init__(
        self, dialect: Dialect, visit: Visit, note: Callable[[InjectedFault], None]
    ) -> None:
        self._dialect = dialect
        self._visit = visit
        self._note = note
        self._on_messages: list[Alarm] = []
        self._on_connection: list[Alarm] = []
        self._ends: list[tuple[float, Callable[[], None]]] = []  # of what lasts for a time
        self._first: list[Item] = []  # to be sent before what the dialect says next
        self._recent: deque[Frame] = deque(maxlen=0)
        self._overtaken: list[tuple[int, Frame]] = []  # by how many messages yet
        self._late: deque[tuple[float, Item]] = deque()  # and when it is due
        self._delay_s = 0.0
        self._messages = 0
        self._is_over = False  # no client can read on

    def add(self, watch: Watch) -> None:
        """Let the fault of `watch` await this connection."""
        fault, visit = watch.fault, self._visit
        alarm = Alarm(watch, visit.opened_s, watch.dice(visit.exchange, visit.path, visit.number))
        is_of_messages = CATALOG[fault.kind].stage is Stage.MESSAGE
        (self._on_messages if is_of_messages else self._on_connection).append(alarm)
        if fault.kind is Kind.REPEATED:
            size = max(fault.repeats, self._recent.maxlen or 0)
            self._recent = deque(self._recent, maxlen=size)

    @property
    def is_late(self) -> bool:
        """Whether a late feed holds something back."""
        return bool(self._late)

    def begin(self, now_s: float) -> None:
        """Do what is due by the clock alone."""
        for end in [end for end in self._ends if end[0] <= now_s]:
            self._ends.remove(end)
            end[1]()
        for alarm in self._on_connection:
            if not self._is_over and alarm.is_due(now_s, self._messages):
                self._first += self._strike(alarm, now_s)

    def bend(self, frames: Sequence[Frame], now_s: float) -> list[Item]:
        """Return what becomes of `frames`, and what else is to be done by now."""
        items, self._first = self._first, []
        for frame in frames:
            if frame.fate is Fate.FOREIGN and self._is_over:
                continue
            if not frame.streams or frame.fate is not Fate.SENT:
                items.append(frame)
            elif self._is_over:
                items.append(unsent(frame))
            else:
                items += self._carry(frame, now_s)
        return self._delayed(items, now_s)

    def leave(self) -> list[Frame]:
        """Return the data frames that are held back; the connection has ended."""
        late = [item for _, item in self._late if isinstance(item, Frame)]
        held = [*late, *(frame for _, frame in self._overtaken)]
        self._late.clear()
        self._overtaken.clear()
        return [frame if frame.fate is Fate.LOST else unsent(frame) for frame in held]

    def _carry(self, frame: Frame, now_s: float) -> list[Item]:
        """Return what becomes of a data frame, and what happens right after it."""
        items: list[Item] = self._meet(frame, now_s)
        items += self._overtakers()
        self._messages += 1
        for alarm in self._on_connection:
            if not self._is_over and alarm.is_due(now_s, self._messages, is_message=True):
                items += self._strike(alarm, now_s)
        return items

    def _meet(self, frame: Frame, now_s: float) -> list[Item]:
        """Return what the first fault that is due makes of `frame`; one befalls it at most."""
        for alarm in self._on_messages:
            streams = Streams(alarm.fault.symbol, alarm.fault.data_type)
            if any(map(streams.cover, frame.streams)) and alarm.is_due(
                now_s, self._messages, is_message=True
            ):
                self._happen(alarm, now_s)
                return self._befall(alarm.fault, frame)
        self._recent.append(frame)
        return [frame]

    def _befall(self, fault: Fault, frame: Frame) -> list[Item]:
        kind = fault.kind
        if kind in SPOILERS:
            spoiled = spoil(kind, frame)
            if fault.is_extra:
                return [spoiled._replace(streams=(), ids=None), frame]
            return [spoiled]
        match kind:
            case Kind.LOST:
                return [lost(frame)]
            case Kind.DUPLICATE:
                return [frame, frame._replace(fate=Fate.REPEATED)]
            case Kind.REPEATED:
                self._recent.append(frame)
                again = list(self._recent)[-fault.repeats :]
                return [frame, *(each._replace(fate=Fate.REPEATED) for each in again)]
            case Kind.REORDERED:
                self._overtaken.append((fault.behind + 1, frame))
                return []
            case Kind.EXTRA_FIELDS:
                return [add_field(frame)]
            case Kind.FRAGMENTED:
                return [frame._replace(wire=fragmented(frame, fault.fragments))]
            case Kind.DRIP:
                return [Act(Deed.DRIP, fault.drip_s), frame, Act(Deed.DRIP)]
            case Kind.STALL_MID_FRAME:
                wire = whole(frame)
                half = len(wire) // 2
                stall = Act(Deed.WAIT, math.inf if fault.for_s is None else fault.for_s)
                begun = Act(Deed.SEND, payload=wire[:half])
                return [begun, stall, frame._replace(wire=wire[half:])]
        raise AssertionError(kind)

    def _overtakers(self) -> list[Item]:
        """Count one more message; return the frames that enough have overtaken."""
        self._overtaken = [(left - 1, frame) for left, frame in self._overtaken]
        items: list[Item] = [
            frame._replace(fate=Fate.LATE) for left, frame in self._overtaken if not left
        ]
        self._overtaken = [each for each in self._overtaken if each[0]]
        return items

    def _strike(self, alarm: Alarm, now_s: float) -> list[Item]:
        """Let a fault of the connection happen; return what to do for it."""
        self._happen(alarm, now_s)
        fault = alarm.fault
        kind = fault.kind
        if kind in _CLOSES:
            return self._close(close_frame(_CLOSES[kind], fault.reason))
        if kind in MALFORMED:
            return self._end(Act(Deed.SEND, payload=MALFORMED[kind].wire))
        match kind:
            case Kind.CLOSE_4000:
                return self._close(close_frame(fault.code, fault.reason))
            case Kind.CLOSE_1005:
                return self._close(Frame(b"", opcode=Opcode.CLOSE))
            case Kind.OVERSIZE:
                big = head(Opcode.TEXT, fault.size_bytes) + b" " * fault.size_bytes
                return self._end(Act(Deed.SEND, payload=big))
            case Kind.RESET:
                return self._end(Act(Deed.RESET))
            case Kind.FIN:
                return self._end(Act(Deed.FIN))
            case Kind.HALF_OPEN:
                return self._end(Act(Deed.SWALLOW))
            case Kind.STALL:
                return [Act(Deed.WAIT, math.inf if fault.for_s is None else fault.for_s)]
            case Kind.PING_FLOOD:
                numbers = range(fault.pings)
                return [Frame(b"flood %d" % each, opcode=Opcode.PING) for each in numbers]
        self._misbehave(fault, now_s)
        return []

    def _misbehave(self, fault: Fault, now_s: float) -> None:
        """Give the dialect bad manners, for a time or for good."""
        dialect, manners = self._dialect, self._dialect.manners
        streams = Streams(fault.symbol, fault.data_type)
        match fault.kind:
            case Kind.UNKNOWN_TYPE:
                dialect.say_unknown(int(dialect.exchange.stepped_ms))
                return
            case Kind.NOTICE:
                dialect.say_notice(int(dialect.exchange.stepped_ms))
                cut = partial(self._cut, GOING_AWAY)
                self._ends.append((now_s + fault.lead_s, cut))
                return
            case Kind.SILENT_FEED:
                dialect.fall_silent(streams)
                undo: Callable[[], None] = partial(dialect.speak_again, streams)
            case Kind.LATE_FEED:
                self._delay_s = fault.delay_s
                undo = partial(setattr, self, "_delay_s", 0.0)
            case kind:
                undo = manners.spoil(kind, streams, int(fault.delay_s * 1_000))
        if fault.for_s is not None:
            self._ends.append((now_s + fault.for_s, undo))

    def _cut(self, code: int) -> None:
        if not self._is_over:
            self._first += self._close(close_frame(code))

    def _close(self, frame: Frame) -> list[Item]:
        self._dialect.depart()
        return self._end(frame)

    def _end(self, item: Item) -> list[Item]:
        """Return the last thing that a client is to get; what is held back never comes."""
        self._is_over = True
        held = [unsent(frame) for _, frame in self._overtaken]
        self._overtaken.clear()
        return [item, *held]

    def _delayed(self, items: list[Item], now_s: float) -> list[Item]:
        """Return the items whose time has come; all keep their order."""
        if not self._delay_s and not self._late:
            return items
        self._late.extend((now_s + self._delay_s, item) for item in items)
        due = []
        while self._late and self._late[0][0] <= now_s:
            due.append(self._late.popleft()[1])
        return due

    def _happen(self, alarm: Alarm, now_s: float) -> None:
        alarm.happen(now_s)
        visit = self._visit
        self._note(InjectedFault(round(now_s, 6), alarm.fault.kind, visit.exchange, visit.id))
