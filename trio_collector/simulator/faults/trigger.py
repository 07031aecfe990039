"""When a fault is injected: pure clocks and dice.

An `ArmedFault` is a fault in a running simulator, and counts how often it was injected over all
connections. A `Trigger` is an armed fault on one connection; it fires

    at once                       without a condition
    after_s                       at that age of the connection
    after_messages                after so many messages of data
    at_s                          at that moment, if the connection exists by then
    ... every_s                   and again, each time so much later
    ... rate                      from then on by the dice, thrown for each message of data

and otherwise only once. Dice belong to the fault and the connection, so that the same script with
the same seed does the same to a connection, in whatever order connections run.
"""

import math
import random

from trio_collector.simulator.faults.fault import Fault


class ArmedFault:
    """A fault, and how often it was injected."""

    def __init__(self, fault: Fault, name: str) -> None:
        self.fault = fault
        self.times = 0
        self._name = name  # of its dice

    @property
    def is_spent(self) -> bool:
        return self.fault.times is not None and self.times >= self.fault.times

    def dice(self, *names: object) -> random.Random:
        """Return dice that are the same for the same fault, seed and `names`."""
        return random.Random("/".join(map(str, (self._name, *names))))

    def is_on(self, now_s: float) -> bool:
        """Return whether a fault that lasts is on at `now_s`: from `at_s` on, for `for_s`."""
        fault = self.fault
        since_s = now_s - (fault.at_s or 0.0)
        if since_s < 0:
            return False
        if fault.every_s is not None:
            since_s %= fault.every_s
        return since_s < (math.inf if fault.for_s is None else fault.for_s)

    def left_s(self, now_s: float) -> float:
        """Return how much longer a fault that is on at `now_s` lasts."""
        fault = self.fault
        since_s = now_s - (fault.at_s or 0.0)
        if fault.every_s is not None:
            since_s %= fault.every_s
        return (math.inf if fault.for_s is None else fault.for_s) - since_s


class Trigger:
    """Fires an armed fault on what began at `opened_s`: a connection, or the simulator itself."""

    def __init__(self, armed: ArmedFault, opened_s: float, dice: random.Random) -> None:
        self.armed = armed
        self.fault = armed.fault
        self._dice = dice
        self._due_s = _first_s(armed.fault, opened_s)

    def is_due(self, now_s: float, messages: int, *, is_message: bool = False) -> bool:
        """Return whether the fault is due now, `messages` into the connection.

        `is_message` says that one of them is being sent, for which the dice are thrown.
        """
        fault = self.fault
        if now_s < self._due_s or messages < (fault.after_messages or 0) or self.armed.is_spent:
            return False
        return fault.rate is None or (is_message and self._dice.random() < fault.rate)

    def fire(self, now_s: float) -> None:
        """Count the fault as injected, and set the next time, if there is one."""
        self.armed.times += 1
        fault = self.fault
        if fault.every_s is not None and fault.after_messages is not None:
            self._due_s = now_s + fault.every_s
        elif fault.every_s is not None:
            late = max(0.0, now_s - self._due_s)
            self._due_s += fault.every_s * (1 + late // fault.every_s)
        elif fault.rate is None:
            self._due_s = math.inf


def _first_s(fault: Fault, opened_s: float) -> float:
    """Return the first moment at which `fault` can concern what began at `opened_s`."""
    if fault.at_s is None:
        first_s = fault.after_s
        if first_s is None and fault.after_messages is None:
            first_s = fault.every_s
        return opened_s + (first_s or 0.0)
    if fault.at_s >= opened_s:
        return fault.at_s
    if fault.every_s is None:
        return math.inf
    passed = math.ceil((opened_s - fault.at_s) / fault.every_s)
    return fault.at_s + passed * fault.every_s
