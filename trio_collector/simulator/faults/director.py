"""Who says which fault befalls whom: the script, and what was put in while the simulator runs.

Connections are counted for each exchange, from 1, as their handshakes come; one that is refused
before takes its number with it. Requests by REST have none.
"""

from collections import Counter
from collections.abc import Iterator

import msgspec

from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.faults.alarm import Alarm, Watch
from trio_collector.simulator.faults.catalog import CATALOG, DAY_S, Stage
from trio_collector.simulator.faults.course import Course
from trio_collector.simulator.faults.fault import Fault, InjectedFault, Kind
from trio_collector.simulator.faults.script import FaultScript, fault_problems, is_known_at
from trio_collector.simulator.record import Visit

_ON_CONNECTIONS = (Stage.CONNECTION, Stage.MESSAGE)


class Director:
    """The faults of a running simulator; `happenings` are all that happened so far."""

    def __init__(self, script: FaultScript) -> None:
        self.happenings: list[InjectedFault] = []
        self._seed = script.seed
        self._connects: Counter[str] = Counter()
        self._requests = 0
        self._watches: list[Watch] = []
        self._clocks: list[Alarm] = []  # of faults of whole exchanges
        for fault in script.faults:
            self._add(fault)

    def _add(self, fault: Fault) -> Watch:
        if fault.kind is Kind.DAY_CUT and not _is_timed(fault):
            fault = msgspec.structs.replace(fault, after_s=DAY_S)
        watch = Watch(fault, f"{self._seed}/{len(self._watches)}")
        self._watches.append(watch)
        if CATALOG[fault.kind].stage is Stage.VENUE:
            self._clocks.append(Alarm(watch, 0.0, watch.dice()))
        return watch

    def inject(self, fault: Fault, now_s: float) -> Watch:
        """Add `fault`, from now on; where no moment is told, that is now.

        Raises ValueError if it makes no sense.
        """
        found = list(fault_problems(fault, "fault"))
        if found:
            raise ValueError("\n".join(map(str, found)))
        if not _is_timed(fault):
            fault = msgspec.structs.replace(fault, at_s=now_s)
        return self._add(fault)

    def accept(self, exchange: str, now_s: float) -> Fault | None:
        """Return what befalls a connect to the port of `exchange`; "" is that of all."""
        number = self._connects[exchange] + 1
        watch = self._find(Stage.ACCEPT, exchange, "", number, now_s)
        if watch is None:
            return None
        self._connects[exchange] = number
        self._note(watch, exchange, now_s)
        return watch.fault

    def handshake(self, exchange: str, path: str, now_s: float) -> tuple[int, Watch | None]:
        """Return the number of a WebSocket connection, and what befalls its handshake."""
        self._connects[exchange] += 1
        number = self._connects[exchange]
        watch = self._find(Stage.HANDSHAKE, exchange, path, number, now_s)
        if watch is not None:
            self._note(watch, exchange, now_s)
        return number, watch

    def rest(self, exchange: str, now_s: float, used: int) -> Watch | None:
        """Return what befalls a REST request after which `used` is the weight of the minute."""
        self._requests += 1
        for watch in self._watches:
            fault = watch.fault
            is_cheap = fault.kind is Kind.REST_WEIGHT and used <= fault.weight
            is_of_rest = CATALOG[fault.kind].stage is Stage.REST or fault.kind is Kind.IP_BAN
            name = f"rest {self._requests}"
            if is_of_rest and not is_cheap and _befalls(watch, exchange, name, now_s):
                self._note(watch, exchange, now_s)
                return watch
        return None

    def due(self, now_s: float) -> Iterator[Fault]:
        """Yield the faults of whole exchanges that happen now."""
        for clock in self._clocks:
            if clock.is_due(now_s, 0):
                clock.happen(now_s)
                self.happenings.append(_happening(clock.fault, clock.fault.exchange or "", now_s))
                yield clock.fault

    def open_course(self, visit: Visit, dialect: Dialect) -> Course | None:
        """Return what awaits a connection; None if nothing does."""
        watches = [watch for watch in self._watches if _awaits(watch.fault, visit)]
        if not watches:
            return None
        course = Course(dialect, visit, self.happenings.append)
        for watch in watches:
            course.add(watch)
        return course

    def extend(
        self, watch: Watch, visit: Visit, dialect: Dialect, course: Course | None
    ) -> Course | None:
        """Return `course` with an injected fault, if that befalls the connection."""
        if not _awaits(watch.fault, visit):
            return course
        course = course or Course(dialect, visit, self.happenings.append)
        course.add(watch)
        return course

    def _find(
        self, stage: Stage, exchange: str, path: str, number: int, now_s: float
    ) -> Watch | None:
        for watch in self._watches:
            fault = watch.fault
            if (
                CATALOG[fault.kind].stage is stage
                and fault.path in (None, path)
                and fault.connection in (None, number)
                and _befalls(watch, exchange, str(number), now_s)
            ):
                return watch
        return None

    def _note(self, watch: Watch, exchange: str, now_s: float) -> None:
        watch.happened += 1
        self.happenings.append(_happening(watch.fault, exchange, now_s))


def _befalls(watch: Watch, exchange: str, name: str, now_s: float) -> bool:
    """Return whether what `watch` is about happens now; the dice are those of the name."""
    fault = watch.fault
    if watch.is_spent or fault.exchange not in (None, exchange) or not watch.is_on(now_s):
        return False
    return fault.rate is None or watch.dice(exchange, name).random() < fault.rate


def _awaits(fault: Fault, visit: Visit) -> bool:
    """Return whether `fault` can befall the connection that `visit` tells of."""
    return (
        CATALOG[fault.kind].stage in _ON_CONNECTIONS
        and is_known_at(fault.kind, visit.exchange)
        and fault.exchange in (None, visit.exchange)
        and fault.path in (None, visit.path)
        and fault.connection in (None, visit.number)
    )


def _is_timed(fault: Fault) -> bool:
    """Return whether `fault` says when it happens."""
    moments = (fault.at_s, fault.after_s, fault.after_messages, fault.every_s, fault.rate)
    return any(moment is not None for moment in moments)


def _happening(fault: Fault, exchange: str, now_s: float) -> InjectedFault:
    return InjectedFault(round(now_s, 6), fault.kind, exchange)
