"""The log queue: lines are rendered by the caller and written by a thread, so that a terminal, pipe
or disk that is stuck does not block the event loop.

    loggers ─▶ LogQueue: repeats, rendering ─▶ at most 10,000 lines ─▶ thread ─▶ stream, file

When the queue is full, new lines are counted and dropped, and a WARNING says how many once it is
half empty. The thread takes no lock of Python's own streams: the exit of a process whose standard
error is stuck would end in a crash.
"""

import contextlib
import logging
import logging.handlers
import os
import queue
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TextIO

import structlog

from trio_collector.logs.daily_files import write_all
from trio_collector.logs.repeats import Repeats
from trio_collector.telemetry import metrics

log = structlog.get_logger(__name__)

# 10,000 lines of 300 bytes are 3 MB, and more than a minute of the noisiest log seen.
MAX_LINES = 10_000
# How long an exit waits for a stream that is stuck.
CLOSE_S = 2.0


class Sink(Protocol):
    """Where lines are written to. The thread alone calls it."""

    def write(self, line: str, created_s: float) -> bool:
        """Write `line`, created at Unix time `created_s`, and a line break; False if it is lost."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class Target(NamedTuple):
    """A sink and the format of its lines; `name` is its label in the metric of lost lines."""

    name: str
    sink: Sink
    formatter: logging.Formatter


class StreamSink:
    """A stream such as standard error; a real file is written without its buffer and locks."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._descriptor = _duplicate(stream)

    def write(self, line: str, created_s: float) -> bool:
        del created_s
        try:
            if self._descriptor is None:
                self._stream.write(f"{line}\n")
            else:
                write_all(self._descriptor, f"{line}\n".encode(errors="backslashreplace"))
        except (OSError, ValueError):  # ValueError: the stream was closed
            return False
        return True

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _duplicate(stream: TextIO) -> int | None:
    """Return a new descriptor of `stream`: the old number may be reused for a data file."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.dup(stream.fileno())
    return None


class _Line(NamedTuple):
    created_s: float
    texts: list[str]  # one for each target


class _Writer(logging.handlers.QueueListener):
    """The thread that writes."""

    def __init__(self, lines: "queue.Queue[_Line]", targets: Sequence[Target]) -> None:
        super().__init__(lines)
        self._targets = targets

    def handle(self, line: _Line) -> None:  # type: ignore[override]  # the queue holds rendered lines, not records
        for target, text in zip(self._targets, line.texts, strict=True):
            if not target.sink.write(text, line.created_s):
                metrics.log_lines_dropped.labels(target.name).inc()


class LogQueue(logging.handlers.QueueHandler):
    """The one log handler of the process."""

    def __init__(self, targets: Sequence[Target], max_lines: int = MAX_LINES) -> None:
        self._lines: queue.Queue[_Line] = queue.Queue(max_lines)
        super().__init__(self._lines)
        self._targets = targets
        self._repeats = Repeats()
        self._dropped = 0
        self._is_open = True
        for reason in ("queue", *(target.name for target in targets)):
            metrics.log_lines_dropped.labels(reason)
        self._writer = _Writer(self._lines, targets)
        self._writer.start()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return `record` unchanged, because it does not leave this process."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue the records that `Repeats` admits; the caller holds this handler's lock."""
        for admitted in self._repeats.admit(record):
            self._put(admitted)

    def _put(self, record: logging.LogRecord) -> None:
        texts = [target.formatter.format(record) for target in self._targets]
        try:
            self._lines.put_nowait(_Line(record.created, texts))
        except queue.Full:
            self._dropped += 1
            metrics.log_lines_dropped.labels("queue").inc()
            return
        if self._dropped and self._lines.qsize() < self._lines.maxsize / 2:
            dropped, self._dropped = self._dropped, 0
            log.warning("log lines dropped", lines=dropped)

    def wait_written(self, limit_s: float = CLOSE_S) -> bool:
        """Wait, blocking, until all lines are written; False if that takes more than `limit_s`."""
        with self._lines.all_tasks_done:
            return self._lines.all_tasks_done.wait_for(
                lambda: not self._lines.unfinished_tasks, limit_s
            )

    def close(self) -> None:
        """Write the remaining lines, for at most CLOSE_S, and end the thread."""
        if self._is_open:
            self._is_open = False
            for count in self._repeats.take_counts():
                self._put(count)
            # A thread that hangs in a write is abandoned; it ends with the process.
            if self.wait_written():
                self._writer.stop()
                for target in self._targets:
                    target.sink.close()
        super().close()
