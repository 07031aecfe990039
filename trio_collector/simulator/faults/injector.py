"""Which fault concerns which connect, request, connection or exchange; from a script, or injected live.

Connections are counted for each exchange, from 1, in the order of their handshakes; a connect that is
refused before its handshake counts as well. REST requests have no number.
"""

from collections import Counter
from collections.abc import Iterator

import msgspec

from trio_collector.simulator.dialects.dialect import Dialect
from trio_collector.simulator.faults.catalog import CATALOG, DAY_S, Stage
from trio_collector.simulator.faults.connection_faults import ConnectionFaults
from trio_collector.simulator.faults.fault import Fault, InjectedFault, Kind
from trio_collector.simulator.faults.script import FaultScript, fault_problems, is_known_at
from trio_collector.simulator.faults.trigger import ArmedFault, Trigger
from trio_collector.simulator.record import ConnectionInfo

_ON_CONNECTIONS = (Stage.CONNECTION, Stage.MESSAGE)


class FaultInjector:
    """The faults of a running simulator; `injected_faults` lists what was injected so far, in order."""

    def __init__(self, script: FaultScript) -> None:
        self.injected_faults: list[InjectedFault] = []
        self._seed = script.seed
        self._connects: Counter[str] = Counter()
        self._requests = 0
        self._armed: list[ArmedFault] = []
        self._clocks: list[Trigger] = []  # of faults of whole exchanges
        for fault in script.faults:
            self._add(fault)

    def _add(self, fault: Fault) -> ArmedFault:
        if fault.kind is Kind.DAY_CUT and not _is_timed(fault):
            fault = msgspec.structs.replace(fault, after_s=DAY_S)
        armed = ArmedFault(fault, f"{self._seed}/{len(self._armed)}")
        self._armed.append(armed)
        if CATALOG[fault.kind].stage is Stage.EXCHANGE:
            self._clocks.append(Trigger(armed, 0.0, armed.dice()))
        return armed

    def inject(self, fault: Fault, now_s: float) -> ArmedFault:
        """Arm `fault` from now on; without a time of its own it is due now.

        Raises ValueError if it makes no sense.
        """
        found = list(fault_problems(fault, "fault"))
        if found:
            raise ValueError("\n".join(map(str, found)))
        if not _is_timed(fault):
            fault = msgspec.structs.replace(fault, at_s=now_s)
        return self._add(fault)

    def accept(self, exchange: str, now_s: float) -> Fault | None:
        """Return the fault of a connect to the port of `exchange`; "" is the port of all."""
        number = self._connects[exchange] + 1
        armed = self._find(Stage.ACCEPT, exchange, "", number, now_s)
        if armed is None:
            return None
        self._connects[exchange] = number
        self._note(armed, exchange, now_s)
        return armed.fault

    def handshake(self, exchange: str, path: str, now_s: float) -> tuple[int, ArmedFault | None]:
        """Return the number of a WebSocket connection, and the fault of its handshake."""
        self._connects[exchange] += 1
        number = self._connects[exchange]
        armed = self._find(Stage.HANDSHAKE, exchange, path, number, now_s)
        if armed is not None:
            self._note(armed, exchange, now_s)
        return number, armed

    def rest(self, exchange: str, now_s: float, used: int) -> ArmedFault | None:
        """Return the fault of a REST request after which the minute's weight is `used`."""
        self._requests += 1
        for armed in self._armed:
            fault = armed.fault
            is_cheap = fault.kind is Kind.REST_WEIGHT and used <= fault.weight
            is_of_rest = CATALOG[fault.kind].stage is Stage.REST or fault.kind is Kind.IP_BAN
            name = f"rest {self._requests}"
            if is_of_rest and not is_cheap and _happens(armed, exchange, name, now_s):
                self._note(armed, exchange, now_s)
                return armed
        return None

    def due(self, now_s: float) -> Iterator[Fault]:
        """Yield the faults of whole exchanges that are due now."""
        for clock in self._clocks:
            if clock.is_due(now_s, 0):
                clock.fire(now_s)
                self.injected_faults.append(
                    _injected(clock.fault, clock.fault.exchange or "", now_s)
                )
                yield clock.fault

    def open_connection(self, info: ConnectionInfo, dialect: Dialect) -> ConnectionFaults | None:
        """Return the faults of a new connection; None if it has none."""
        armed_faults = [armed for armed in self._armed if _concerns(armed.fault, info)]
        if not armed_faults:
            return None
        faults = ConnectionFaults(dialect, info, self.injected_faults.append)
        for armed in armed_faults:
            faults.add(armed)
        return faults

    def extend(
        self,
        armed: ArmedFault,
        info: ConnectionInfo,
        dialect: Dialect,
        faults: ConnectionFaults | None,
    ) -> ConnectionFaults | None:
        """Return `faults` with an injected one as well, if that concerns the connection."""
        if not _concerns(armed.fault, info):
            return faults
        faults = faults or ConnectionFaults(dialect, info, self.injected_faults.append)
        faults.add(armed)
        return faults

    def _find(
        self, stage: Stage, exchange: str, path: str, number: int, now_s: float
    ) -> ArmedFault | None:
        for armed in self._armed:
            fault = armed.fault
            if (
                CATALOG[fault.kind].stage is stage
                and fault.path in (None, path)
                and fault.connection in (None, number)
                and _happens(armed, exchange, str(number), now_s)
            ):
                return armed
        return None

    def _note(self, armed: ArmedFault, exchange: str, now_s: float) -> None:
        armed.times += 1
        self.injected_faults.append(_injected(armed.fault, exchange, now_s))


def _happens(armed: ArmedFault, exchange: str, name: str, now_s: float) -> bool:
    """Return whether the fault is due now; `name` selects the dice."""
    fault = armed.fault
    if armed.is_spent or fault.exchange not in (None, exchange) or not armed.is_on(now_s):
        return False
    return fault.rate is None or armed.dice(exchange, name).random() < fault.rate


def _concerns(fault: Fault, info: ConnectionInfo) -> bool:
    """Return whether `fault` can concern the connection of `info`."""
    return (
        CATALOG[fault.kind].stage in _ON_CONNECTIONS
        and is_known_at(fault.kind, info.exchange)
        and fault.exchange in (None, info.exchange)
        and fault.path in (None, info.path)
        and fault.connection in (None, info.number)
    )


def _is_timed(fault: Fault) -> bool:
    """Return whether `fault` says when it is due."""
    moments = (fault.at_s, fault.after_s, fault.after_messages, fault.every_s, fault.rate)
    return any(moment is not None for moment in moments)


def _injected(fault: Fault, exchange: str, now_s: float) -> InjectedFault:
    return InjectedFault(round(now_s, 6), fault.kind, exchange)
