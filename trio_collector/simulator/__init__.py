"""The five exchanges on this machine: real sockets, invented markets, nothing shared with the readers.

Started inside a nursery::

    simulator = await nursery.start(serve_simulator, Simulation(seed=1))
    simulator.base_url("okx")  # what a market's `base_url` is set to
    simulator.inject(Fault(kind=Kind.RESET, exchange="okx"))  # something goes wrong

It knows the exchanges from their documents alone and imports neither the adapters nor the feed: the
two are independent readings, and undo each other in the tests.
"""

from trio_collector.simulator.faults import Fault, FaultScript, InjectedFault, Kind
from trio_collector.simulator.record import Entry, Visit, read_entries
from trio_collector.simulator.server import Simulator, run_simulator, serve_simulator
from trio_collector.simulator.settings import DEFAULT_EXCHANGES, EXCHANGES, Simulation

__all__ = [
    "DEFAULT_EXCHANGES",
    "EXCHANGES",
    "Entry",
    "Fault",
    "FaultScript",
    "InjectedFault",
    "Kind",
    "Simulation",
    "Simulator",
    "Visit",
    "read_entries",
    "run_simulator",
    "serve_simulator",
]
