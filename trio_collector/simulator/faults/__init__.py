"""Scripted faults: what may go wrong between a client and a simulated venue.

A fault is data; `Director` says whom it befalls, `Course` what becomes of a connection's frames, and
the files that wait carry it out: the entrance (connects, handshakes, REST), the outbox (frames and
how a connection ends), the ports (who listens). The table of all kinds is in docs/simulator.md.
"""

from trio_collector.simulator.faults.fault import Fault, InjectedFault, Kind
from trio_collector.simulator.faults.script import FaultScript, parse_script

__all__ = ["Fault", "FaultScript", "InjectedFault", "Kind", "parse_script"]
