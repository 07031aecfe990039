"""The faults of one connection: its frames go in, and come out as its faults leave them.

Pure. About every tick, `tick` is called before the dialect is asked for its frames, and `apply` with
these frames; both get the time. Every data frame that goes in comes out once, in its place and with
its fate, for the record; as unsent when nothing more can reach the client.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from trio_collector.simulator.dialects.behaviour import StreamFilter
from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.faults.action import Action, ActionKind, Item
from trio_collector.simulator.faults.catalog import CATALOG, Stage
from trio_collector.simulator.faults.corruption import CORRUPTIONS, add_field, corrupt
from trio_collector.simulator.faults.fault import Fault, InjectedFault, Kind
from trio_collector.simulator.faults.malformed import MALFORMED, fragmented, whole
from trio_collector.simulator.faults.trigger import ArmedFault, Trigger
from trio_collector.simulator.net.frames import Fate, Frame, Opcode, close_frame, head, lost, unsent
from trio_collector.simulator.record import ConnectionInfo

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


class ConnectionFaults:
    """The faults of one connection; `note` gets each one that is injected."""

    def __init__(
        self, dialect: Dialect, info: ConnectionInfo, note: Callable[[InjectedFault], None]
    ) -> None:
        self._dialect = dialect
        self._info = info
        self._note = note
        self._on_messages: list[Trigger] = []
        self._on_connection: list[Trigger] = []
        self._undo: list[tuple[float, Callable[[], None]]] = []  # of faults that last for a time
        self._first: list[Item] = []  # to be sent before the dialect's next frames
        self._recent: deque[Frame] = deque(maxlen=0)
        self._overtaken: list[tuple[int, Frame]] = []  # and how many messages are still to pass
        self._late: deque[tuple[float, Item]] = deque()  # and when it is due
        self._delay_s = 0.0
        self._messages = 0
        self._is_over = False  # nothing more can reach the client

    def add(self, armed: ArmedFault) -> None:
        """Arm one more fault on this connection."""
        fault, info = armed.fault, self._info
        trigger = Trigger(armed, info.opened_s, armed.dice(info.exchange, info.path, info.number))
        is_of_messages = CATALOG[fault.kind].stage is Stage.MESSAGE
        (self._on_messages if is_of_messages else self._on_connection).append(trigger)
        if fault.kind is Kind.REPEATED:
            size = max(fault.repeats, self._recent.maxlen or 0)
            self._recent = deque(self._recent, maxlen=size)

    @property
    def is_late(self) -> bool:
        """Whether a late feed holds something back."""
        return bool(self._late)

    def tick(self, now_s: float) -> None:
        """Inject what is due by the clock alone."""
        for entry in [entry for entry in self._undo if entry[0] <= now_s]:
            self._undo.remove(entry)
            entry[1]()
        for trigger in self._on_connection:
            if not self._is_over and trigger.is_due(now_s, self._messages):
                self._first += self._inject(trigger, now_s)

    def apply(self, frames: Sequence[Frame], now_s: float) -> list[Item]:
        """Return what becomes of `frames`, and what else is due by now."""
        items, self._first = self._first, []
        for frame in frames:
            if frame.fate is Fate.FOREIGN and self._is_over:
                continue
            if not frame.streams or frame.fate is not Fate.SENT:
                items.append(frame)
            elif self._is_over:
                items.append(unsent(frame))
            else:
                items += self._pass_on(frame, now_s)
        return self._delayed(items, now_s)

    def close(self) -> list[Frame]:
        """Return the data frames that are held back; the connection has ended."""
        late = [item for _, item in self._late if isinstance(item, Frame)]
        held = [*late, *(frame for _, frame in self._overtaken)]
        self._late.clear()
        self._overtaken.clear()
        return [frame if frame.fate is Fate.LOST else unsent(frame) for frame in held]

    def _pass_on(self, frame: Frame, now_s: float) -> list[Item]:
        """Return what becomes of a data frame, and what is injected right after it."""
        items: list[Item] = self._inject_into(frame, now_s)
        items += self._take_overtaken()
        self._messages += 1
        for trigger in self._on_connection:
            if not self._is_over and trigger.is_due(now_s, self._messages, is_message=True):
                items += self._inject(trigger, now_s)
        return items

    def _inject_into(self, frame: Frame, now_s: float) -> list[Item]:
        """Return what becomes of `frame` by the first fault that is due; no other applies."""
        for trigger in self._on_messages:
            streams = StreamFilter(trigger.fault.symbol, trigger.fault.data_type)
            if any(map(streams.matches, frame.streams)) and trigger.is_due(
                now_s, self._messages, is_message=True
            ):
                self._record(trigger, now_s)
                return self._changed(trigger.fault, frame)
        self._recent.append(frame)
        return [frame]

    def _changed(self, fault: Fault, frame: Frame) -> list[Item]:
        kind = fault.kind
        if kind in CORRUPTIONS:
            corrupted = corrupt(kind, frame)
            if fault.is_extra:
                return [corrupted._replace(streams=(), ids=None), frame]
            return [corrupted]
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
                return [Action(ActionKind.DRIP, fault.drip_s), frame, Action(ActionKind.DRIP)]
            case Kind.STALL_MID_FRAME:
                wire = whole(frame)
                half = len(wire) // 2
                begun = Action(ActionKind.SEND, payload=wire[:half])
                return [begun, _wait(fault), frame._replace(wire=wire[half:])]
        raise AssertionError(kind)

    def _take_overtaken(self) -> list[Item]:
        """Count one more message; return the frames that enough messages have overtaken."""
        self._overtaken = [(left - 1, frame) for left, frame in self._overtaken]
        items: list[Item] = [
            frame._replace(fate=Fate.LATE) for left, frame in self._overtaken if not left
        ]
        self._overtaken = [each for each in self._overtaken if each[0]]
        return items

    def _inject(self, trigger: Trigger, now_s: float) -> list[Item]:
        """Inject a fault of the connection; return what to do for it."""
        self._record(trigger, now_s)
        fault = trigger.fault
        kind = fault.kind
        if kind in _CLOSES:
            return self._close(close_frame(_CLOSES[kind], fault.reason))
        if kind in MALFORMED:
            return self._end(Action(ActionKind.SEND, payload=MALFORMED[kind].wire))
        match kind:
            case Kind.CLOSE_4000:
                return self._close(close_frame(fault.code, fault.reason))
            case Kind.CLOSE_1005:
                return self._close(Frame(b"", opcode=Opcode.CLOSE))
            case Kind.OVERSIZE:
                big = head(Opcode.TEXT, fault.size_bytes) + b" " * fault.size_bytes
                return self._end(Action(ActionKind.SEND, payload=big))
            case Kind.RESET:
                return self._end(Action(ActionKind.RESET))
            case Kind.FIN:
                return self._end(Action(ActionKind.FIN))
            case Kind.HALF_OPEN:
                return self._end(Action(ActionKind.DISCARD))
            case Kind.STALL:
                return [_wait(fault)]
            case Kind.PING_FLOOD:
                numbers = range(fault.pings)
                return [Frame(b"flood %d" % each, opcode=Opcode.PING) for each in numbers]
        self._change_dialect(fault, now_s)
        return []

    def _change_dialect(self, fault: Fault, now_s: float) -> None:
        """Make the dialect say or withhold something, for a time or until the end."""
        dialect = self._dialect
        streams = StreamFilter(fault.symbol, fault.data_type)
        match fault.kind:
            case Kind.UNKNOWN_TYPE:
                dialect.send_unknown(int(dialect.exchange.stepped_ms))
                return
            case Kind.NOTICE:
                dialect.send_notice(int(dialect.exchange.stepped_ms))
                self._undo.append((now_s + fault.lead_s, partial(self._cut, GOING_AWAY)))
                return
            case Kind.SILENT_FEED:
                dialect.silence(streams)
                undo: Callable[[], None] = partial(dialect.unsilence, streams)
            case Kind.LATE_FEED:
                self._delay_s = fault.delay_s
                undo = partial(setattr, self, "_delay_s", 0.0)
            case kind:
                undo = dialect.behaviour.deviate(kind, streams, int(fault.delay_s * 1_000))
        if fault.for_s is not None:
            self._undo.append((now_s + fault.for_s, undo))

    def _cut(self, code: int) -> None:
        if not self._is_over:
            self._first += self._close(close_frame(code))

    def _close(self, frame: Frame) -> list[Item]:
        self._dialect.stop()
        return self._end(frame)

    def _end(self, item: Item) -> list[Item]:
        """Return the last item that a client gets; what is held back stays unsent."""
        self._is_over = True
        held = [unsent(frame) for _, frame in self._overtaken]
        self._overtaken.clear()
        return [item, *held]

    def _delayed(self, items: list[Item], now_s: float) -> list[Item]:
        """Return the items that are due; all keep their order."""
        if not self._delay_s and not self._late:
            return items
        self._late.extend((now_s + self._delay_s, item) for item in items)
        due = []
        while self._late and self._late[0][0] <= now_s:
            due.append(self._late.popleft()[1])
        return due

    def _record(self, trigger: Trigger, now_s: float) -> None:
        trigger.fire(now_s)
        info = self._info
        self._note(InjectedFault(round(now_s, 6), trigger.fault.kind, info.exchange, info.id))


def _wait(fault: Fault) -> Action:
    return Action(ActionKind.WAIT, math.inf if fault.for_s is None else fault.for_s)
