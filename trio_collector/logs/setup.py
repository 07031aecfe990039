"""Logging, set up once: levels, formats and the one handler that everything passes.

Every module has `log = structlog.get_logger(__name__)` and logs a fixed phrase with fields beside
it. structlog hands its events to the standard library's logging, as the libraries do with theirs
(trio-websocket, httpx, botocore, hypercorn), so that one handler treats all of them alike:
repetitions are counted (`repeats.py`), secrets are removed (`redaction.py`), and a thread writes the
lines (`queue.py`) to the stream and, if configured, to daily files (`daily_files.py`).

Only this package logs below WARNING. The libraries never do, whatever LOG_LEVEL says: at DEBUG
botocore logs the session token, at INFO httpx logs whole URLs.
"""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from trio_collector.errors import ConfigError, Problem
from trio_collector.logs.daily_files import DailyFile
from trio_collector.logs.queue import CLOSE_S, LogQueue, StreamSink, Target
from trio_collector.logs.redaction import Redactor, redact_fields

LogFormat = Literal["auto", "console", "json"]

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}

_OURS = "trio_collector"
# Their levels are set one by one, so that lowering the root logger does not lower them.
_SECRETIVE = ("botocore", "httpcore", "httpx", "urllib3")

log = structlog.get_logger(__name__)


class LogFiles(NamedTuple):
    """The folder of the log files, and after how many days they are removed; 0 keeps them."""

    folder: Path
    retention_days: int


def log_level(environ: Mapping[str, str]) -> int:
    """Return the level that $LOG_LEVEL names, INFO if it is not set; raises ConfigError."""
    name = environ.get("LOG_LEVEL") or "info"
    if name.lower() not in LEVELS:
        fault = f"unknown level {name!r}; choose one of {', '.join(LEVELS)}"
        raise ConfigError([Problem("LOG_LEVEL", fault)])
    return LEVELS[name.lower()]


def configure_logging(
    level: int = logging.INFO,
    log_format: LogFormat = "auto",
    stream: TextIO | None = None,
    *,
    files: LogFiles | None = None,
    secrets: Iterable[str] = (),
) -> None:
    """Send every log event from `level` up to `stream`, or to standard error, and to `files`.

    "console" is for a person, "json" for a machine; "auto" is "console" on a terminal. `secrets` are
    texts that no line may contain. Raises ConfigError if `files` cannot be written. A further call
    replaces the set-up of an earlier one, after the lines of that one are written.
    """
    targets = list(_targets(stream or sys.stderr, log_format, files, Redactor(secrets)))
    _configure_structlog()
    lowest = max(level, logging.WARNING)
    logging.basicConfig(handlers=[LogQueue(targets)], level=lowest, force=True)
    for library in _SECRETIVE:
        logging.getLogger(library).setLevel(lowest)
    logging.getLogger(_OURS).setLevel(level)


def _configure_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _targets(
    stream: TextIO, log_format: LogFormat, files: LogFiles | None, redactor: Redactor
) -> Iterator[Target]:
    formatter = _formatter(log_format, is_terminal=stream.isatty(), redactor=redactor)
    yield Target("stream", StreamSink(stream), formatter)
    if files is not None:
        formatter = _formatter(log_format, is_terminal=False, redactor=redactor)
        yield Target("file", _open_files(files), formatter)


def flush_logging(limit_s: float = CLOSE_S) -> bool:
    """Wait, blocking, until every line is written; False if that takes more than `limit_s`."""
    queues = [each for each in logging.getLogger().handlers if isinstance(each, LogQueue)]
    return all(each.wait_written(limit_s) for each in queues)


def _open_files(files: LogFiles) -> DailyFile:
    daily = DailyFile(files.folder, files.retention_days, _report_file)
    try:
        daily.open(time.time())
    except OSError as exc:
        fault = f"{str(files.folder)!r} cannot be written: {exc.strerror}"
        raise ConfigError([Problem("collector.log_dir", fault)]) from exc
    return daily


def _report_file(path: Path, exc: OSError) -> None:
    log.warning("log file cannot be written", path=str(path), error=str(exc))


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.StackInfoRenderer(),
    # The standard library's traceback; rich's would show local variables, and with them secrets.
    structlog.processors.format_exc_info,
]


def _formatter(
    log_format: LogFormat, *, is_terminal: bool, redactor: Redactor
) -> logging.Formatter:
    renderer: Processor
    if log_format == "json" or (log_format == "auto" and not is_terminal):
        # The standard library's encoder; values that JSON does not have are rendered by repr().
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=is_terminal, exception_formatter=structlog.dev.plain_traceback
        )
    processors = [
        _order,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        redact_fields,
        renderer,
        # It receives the renderer's text; structlog's types know processors of events alone.
        cast("Processor", redactor),
    ]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=processors)


def _order(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Put the record's time, the level and the phrase before the fields."""
    created = datetime.fromtimestamp(event_dict["_record"].created, UTC)
    return {
        "timestamp": created.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": event_dict.pop("level"),
        "event": event_dict.pop("event"),
        **event_dict,
    }
