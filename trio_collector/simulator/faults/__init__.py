"""Fault injection: what goes wrong on purpose between a client and a simulated exchange.

    fault, catalog   a fault as data, and all kinds of them
    script, file     many faults, from arguments or from TOML
    injector         which fault concerns which connect, request, connection or exchange
      trigger        when it is due
    connection_faults, corruption, malformed
                     what becomes of a connection's frames
    action           what an outbox does beside sending frames

All of it is pure but `file`. It is carried out where the simulator waits: in the handshake (connects
and REST requests), the outbox (frames, and the end of a connection) and the ports (who listens).
docs/simulator.md has the table of all kinds.
"""

from trio_collector.simulator.faults.fault import Fault, InjectedFault, Kind
from trio_collector.simulator.faults.script import FaultScript, parse_script

__all__ = ["Fault", "FaultScript", "InjectedFault", "Kind", "parse_script"]
