"""Logging, set up once: one line per event to standard error, for a person or for a machine.

Every module has `log = structlog.get_logger(__name__)` and logs a fixed phrase with fields beside
it. structlog hands its events to the standard library's logging, where those of the libraries
(trio-websocket, httpx, botocore, hypercorn) are as well, so that one handler renders them all.

Only this package speaks below WARNING. The libraries never do, whatever LOG_LEVEL says: at DEBUG
botocore logs the session token, at INFO httpx logs whole URLs.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Literal, TextIO

import structlog
from structlog.typing import Processor

from trio_collector.errors import ConfigError, Problem

LogFormat = Literal["auto", "console", "json"]

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}

_OURS = "trio_collector"
# They are set apart from the root logger, so that not even a library that lowers it can.
_SECRETIVE = ("botocore", "httpcore", "httpx", "urllib3")


def log_level(environ: Mapping[str, str]) -> int:
    """Return the level that $LOG_LEVEL names, INFO where it is not set; raises ConfigError."""
    name = environ.get("LOG_LEVEL") or "info"
    if name.lower() not in LEVELS:
        fault = f"unknown level {name!r}; choose one of {', '.join(LEVELS)}"
        raise ConfigError([Problem("LOG_LEVEL", fault)])
    return LEVELS[name.lower()]


def configure_logging(
    level: int = logging.INFO, log_format: LogFormat = "auto", stream: TextIO | None = None
) -> None:
    """Send every log event from `level` up to `stream`, or to standard error.

    "console" is for a person, "json" for a machine; "auto" is "console" on a terminal. Calling it
    again replaces what an earlier call set up.
    """
    stream = stream or sys.stderr
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
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(log_format, stream),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    for library in _SECRETIVE:
        logging.getLogger(library).setLevel(max(level, logging.WARNING))
    logging.getLogger(_OURS).setLevel(level)


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def _rendering(log_format: LogFormat, stream: TextIO) -> list[Processor]:
    if log_format == "json" or (log_format == "auto" and not stream.isatty()):
        # The standard library's encoder takes any value; what it does not know it gets by repr().
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # The default would be rich's traceback, which shows local variables, and with them secrets.
    return [
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]
