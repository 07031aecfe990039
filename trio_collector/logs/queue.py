"""Log lines are rendered where they arise and written by a thread: a terminal, pipe or disk that
takes nothing keeps no event loop waiting.

    loggers ─▶ LogQueue: repeats, rendering ─▶ at most 10,000 lines ─▶ thread ─▶ stream, file

When the lines that wait are too many, new ones are counted and dropped, and a WARNING says so when
there is room again. The thread touches no lock of Python's own streams: at the exit of a process
whose standard error is stuck, that would end in a crash instead of an exit.
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

# A burst of 10,000 lines of 300 bytes is 3 MB, and more than a minute of the noisiest log seen.
MAX_LINES = 10_000
# How long an exit waits for a stream that takes nothing.
CLOSE_S = 2.0


class Sink(Protocol):
    """Where lines end. Only the thread calls it."""

    def write(self, line: str, created_s: float) -> bool:
        """Write `line` of the time `created_s`, with a line's end; False if it is lost."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...


class Target(NamedTuple):
    """A sink, and how lines look there; `name` is what the metric of lost lines calls it."""

    name: str
    sink: Sink
    formatter: logging.Formatter


class StreamSink:
    """A stream such as standard error, past its buffer and locks if it is a real file."""

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
    """Return an own descriptor of `stream`: the old number may stand for a data file one day."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.dup(stream.fileno())
    return None


class _Line(NamedTuple):
    created_s: float
    texts: list[str]  # one for each target


class _Writer(logging.handlers.QueueListener):
    """The thread."""

    def __init__(self, lines: "queue.Queue[_Line]", targets: Sequence[Target]) -> None:
        super().__init__(lines)
        self._targets = targets

    def handle(self, line: _Line) -> None:  # type: ignore[override]  # ours are rendered already
        for target, text in zip(self._targets, line.texts, strict=True):
            if not target.sink.write(text, line.created_s):
                metrics.log_lines_dropped.labels(target.name).inc()


class LogQueue(logging.handlers.QueueHandler):
    """The one handler: everything that is logged goes through it."""

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
        """Return `record` as it is; it stays in this process."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Render what `Repeats` lets through; the caller holds this handler's lock."""
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
        """Write what is left, for at most CLOSE_S, and end the thread."""
        if self._is_open:
            self._is_open = False
            for count in self._repeats.take_counts():
                self._put(count)
            # A thread that hangs in a write is left alone: it ends with the process.
            if self.wait_written():
                self._writer.stop()
                for target in self._targets:
                    target.sink.close()
        super().close()
