"""Logging never waits for where the lines go, and counts what it could not keep."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from trio_collector.logs.queue import LogQueue, Target
from trio_collector.telemetry import metrics

LOGGER = logging.getLogger("test_queue")
ROUNDS = 5


class SlowSink:
    """Takes nothing until `release` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.lines: list[str] = []

    def write(self, line: str, created_s: float) -> bool:
        assert created_s > 0
        self.release.wait()
        self.lines.append(line)
        return True

    def close(self) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[SlowSink]:
    sink = SlowSink()
    yield sink
    sink.release.set()


@pytest.fixture
def start(sink: SlowSink) -> Iterator[Callable[[int], LogQueue]]:
    """Make LOGGER write to `sink` by way of a queue with room for so many lines."""
    started: list[LogQueue] = []

    def make(max_lines: int) -> LogQueue:
        started.append(LogQueue([Target("stream", sink, logging.Formatter("%(msg)s"))], max_lines))
        LOGGER.addHandler(started[0])
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False
        return started[0]

    yield make
    sink.release.set()
    for each in started:
        LOGGER.removeHandler(each)
        each.close()


def lost() -> float:
    """Return how many lines found no room so far."""
    return (
        metrics.REGISTRY.get_sample_value("collector_log_lines_dropped_total", {"reason": "queue"})
        or 0.0
    )


def test_a_stuck_sink_stops_nobody(sink: SlowSink, start: Callable[[int], LogQueue]) -> None:
    """While nothing is taken, lines wait, and beyond the room they are counted; none waits long."""
    queue, before = start(10), lost()
    rounds_s = []
    for _round in range(ROUNDS):
        began = time.monotonic()
        for number in range(100):
            LOGGER.info("%d", number)
        rounds_s.append(time.monotonic() - began)
    # A busy machine delays some of the rounds, and a wait for the sink delays each.
    assert min(rounds_s) < 1.0
    assert not sink.lines
    # The thread holds one line, ten wait.
    assert lost() - before in (100 * ROUNDS - 11, 100 * ROUNDS - 10)
    assert not queue.wait_written(0.0)
    sink.release.set()
    assert queue.wait_written()
    assert len(sink.lines) == 100 * ROUNDS - (lost() - before)


def test_a_loss_is_told(sink: SlowSink, start: Callable[[int], LogQueue]) -> None:
    """When there is room again, a WARNING says how many lines were lost."""
    queue = start(4)
    for number in range(10):
        LOGGER.info("%d", number)
    sink.release.set()
    assert queue.wait_written()
    with capture_logs() as events:
        LOGGER.info("more")
    (event,) = events
    assert (event["event"], event["log_level"]) == ("log lines dropped", "warning")
    assert event["lines"] in (5, 6)


def test_the_end_writes_counts(sink: SlowSink, start: Callable[[int], LogQueue]) -> None:
    """Closing writes what waits and the counts of what repeated."""
    queue = start(10)
    sink.release.set()
    for _ in range(3):
        LOGGER.warning("again")
    queue.close()
    assert sink.lines == ["again", "again (repeated=2)"]


CHILD = """
import logging, structlog
from trio_collector.logs.setup import configure_logging
configure_logging(logging.INFO, "json")
log = structlog.get_logger("trio_collector.child")
for number in range({lines}):
    log.info("line", number=number, text="x" * 100)
print("done", flush=True)
"""


def test_exit_writes_everything() -> None:
    """A process that ends has written each line, in order."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD.format(lines=2000)], capture_output=True, timeout=60
    )
    assert (child.returncode, child.stdout) == (0, b"done\n")
    lines = child.stderr.splitlines()
    assert [int(line.split(b'"number": ')[1].split(b",")[0]) for line in lines] == list(range(2000))


@pytest.mark.slow
def test_exit_with_a_stuck_stream() -> None:
    """Nobody reads standard error and the pipe is full: the process works on and ends with 0."""
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "wb") as pipe:
        child = subprocess.run(
            [sys.executable, "-c", CHILD.format(lines=5000)],
            stdout=subprocess.PIPE,
            stderr=pipe,
            timeout=30,
        )
    assert (child.returncode, child.stdout) == (0, b"done\n")
