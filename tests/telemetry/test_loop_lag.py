"""The lag of the event loop is measured; a stall is counted and logged."""

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from trio_collector.telemetry import metrics
from trio_collector.telemetry.loop_lag import PROBE_S, STALL_S, watch_loop_lag


async def wakes(mock_clock: trio.testing.MockClock, *late_s: float) -> list[dict[str, object]]:
    """Let the watcher be woken late, once by each of `late_s`; return what it logged."""
    with capture_logs() as entries:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_loop_lag)
            for each in late_s:
                await trio.testing.wait_all_tasks_blocked()
                mock_clock.jump(PROBE_S + each)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    return [dict(entry) for entry in entries]


def observed() -> tuple[float, float]:
    """Return how many times lateness was measured, and its sum."""
    samples = {
        sample.name: sample.value
        for family in metrics.loop_lag_seconds.collect()
        for sample in family.samples
        if not sample.labels
    }
    return samples["collector_loop_lag_seconds_count"], samples["collector_loop_lag_seconds_sum"]


async def test_lateness_is_measured(mock_clock: trio.testing.MockClock) -> None:
    """Each wake-up is an observation of how late it was."""
    count, total_s = observed()
    assert await wakes(mock_clock, 0.0, 0.03, STALL_S - 0.01) == []
    after = observed()
    assert after[0] - count == 3
    assert after[1] - total_s == pytest.approx(0.03 + STALL_S - 0.01)


async def test_stalls_are_told(mock_clock: trio.testing.MockClock) -> None:
    """A wake-up that is STALL_S late or more is counted and logged, others are not."""
    before = metrics.total(metrics.loop_stalls)
    told = await wakes(mock_clock, 0.1, 1.5, 0.0)
    assert metrics.total(metrics.loop_stalls) - before == 1
    assert told == [{"event": "event loop stalled", "late_s": 1.5, "log_level": "warning"}]
