"""The five exchanges on this machine: real sockets, random markets, nothing shared with the adapters.

Started inside a nursery::

    simulator = await nursery.start(serve_simulator, Simulation(seed=1))
    simulator.base_url("okx")  # what a market's `base_url` is set to
    simulator.inject(Fault(kind=Kind.RESET, exchange="okx"))

    client ─▶ net (ports, handshake) ─▶ dialect ◀─ topics of a simulated exchange ◀─ markets
                                           │
                        faults ──────▶ net.outbox ─▶ client, and record

`demo` and `simulate` use it, and tests; it imports nothing but the vocabulary and `config`. It knows
the exchanges from their documents alone: simulator and adapters are independent readings of them,
and undo each other in the tests.
"""

from trio_collector.simulator.faults import Fault, FaultScript, InjectedFault, Kind
from trio_collector.simulator.record import ConnectionInfo, Entry, read_entries
from trio_collector.simulator.server import Simulator, run_simulator, serve_simulator
from trio_collector.simulator.settings import DEFAULT_EXCHANGES, EXCHANGES, Simulation

__all__ = [
    "DEFAULT_EXCHANGES",
    "EXCHANGES",
    "ConnectionInfo",
    "Entry",
    "Fault",
    "FaultScript",
    "InjectedFault",
    "Kind",
    "Simulation",
    "Simulator",
    "read_entries",
    "run_simulator",
    "serve_simulator",
]
