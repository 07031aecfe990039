"""Refusals over HTTP, with the Retry-After that a fault asks for."""

import email.utils
import math

from trio_collector.simulator.clock import Clock
from trio_collector.simulator.faults.fault import Fault
from trio_collector.simulator.faults.trigger import ArmedFault
from trio_collector.simulator.net.http import HttpAnswer


def refusal(status: int, fault: Fault, retry_after_s: float | None, clock: Clock) -> HttpAnswer:
    """Return an answer with `status`; Retry-After is a date if `fault` says so, else seconds."""
    headers = []
    if status == 301:
        headers.append(("Location", "https://elsewhere.invalid/"))
    if retry_after_s is not None:
        at_s = clock.now_ms() / 1_000 + retry_after_s
        date = email.utils.formatdate(at_s, usegmt=True)
        seconds = str(math.ceil(retry_after_s))
        headers.append(("Retry-After", date if fault.is_retry_date else seconds))
    return HttpAnswer(status, b'{"code":0,"msg":"simulated refusal"}', tuple(headers))


def ban_refusal(armed: ArmedFault, clock: Clock) -> HttpAnswer:
    """Return the answer to a banned address; Retry-After is what is left of the ban, if it ends."""
    left_s = armed.left_s(clock.now_s())
    return refusal(armed.fault.status, armed.fault, None if left_s == math.inf else left_s, clock)
