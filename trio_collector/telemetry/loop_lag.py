"""Event loop lag: how late the loop wakes a sleeping task, measured all the time.

Everything waits in one loop, so what holds it up (too little CPU, a call that blocks) delays
everything at once: timestamps, pongs, the endpoint. Lag is a histogram; a stall, rare and long,
would be invisible in it and is counted and logged by itself.

A machine that was suspended has not stalled: the loop's clock stands still meanwhile.
"""

import structlog
import trio

from trio_collector.telemetry import metrics

log = structlog.get_logger(__name__)

PROBE_S = 0.1
# Twice the longest wait that 500 streams on a shared core cause (124 ms, tests/bench/streams.py).
STALL_S = 0.25


async def watch_loop_lag() -> None:
    """Measure until cancelled how late the loop wakes a sleeping task."""
    while True:
        due = trio.current_time() + PROBE_S
        await trio.sleep_until(due)
        late_s = max(0.0, trio.current_time() - due)
        metrics.loop_lag_seconds.observe(late_s)
        if late_s >= STALL_S:
            metrics.loop_stalls.inc()
            log.warning("event loop stalled", late_s=round(late_s, 3))
