"""The five exchanges on this machine: real sockets, invented markets, nothing shared with the readers.

Started inside a nursery::

    simulator = await nursery.start(serve_simulator, Simulation(seed=1))
    simulator.base_url("okx")  # what a market's `base_url` is set to
    simulator.inject(Fault(kind=Kind.RESET, exchange="okx"))  # something goes wrong

It knows the exchanges from their documents alone and imports neither the adapters nor the feed: the
two are independent readings, and undo each other in the tests.
"""

from trio_collector.simulator.faults import Fault, FaultScript, Happening, Kind
from trio_collector.simulator.record import Entry, Visit, read_entries
from trio_collector.simulator.server import Simulator, run_simulator, serve_simulator
from trio_collector.simulator.settings import DEFAULT_VENUES, EXCHANGES, Simulation

__all__ = [
    "DEFAULT_VENUES",
    "EXCHANGES",
    "Entry",
    "Fault",
    "FaultScript",
    "Happening",
    "Kind",
    "Simulation",
    "Simulator",
    "Visit",
    "read_entries",
    "run_simulator",
    "serve_simulator",
]
