"""One handler renders what this package and its libraries have to say."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from trio_collector.errors import ConfigError
from trio_collector.log import LogFormat, configure_logging, log_level

log = structlog.get_logger("trio_collector.feed.task")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Put logging back as it was: it belongs to the process, not to a test."""
    names = ("", "trio_collector", "botocore", "httpcore", "httpx", "urllib3")
    levels = {name: logging.getLogger(name).level for name in names}
    handlers = logging.getLogger().handlers[:]
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the events in the lines of JSON on `stream`."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(level: int = logging.INFO, log_format: LogFormat = "json") -> io.StringIO:
    """Return the stream that everything is logged to from now on."""
    stream = io.StringIO()
    configure_logging(level, log_format, stream)
    return stream


def test_json() -> None:
    """A machine gets one JSON object a line: the phrase, its fields, level, logger, UTC time."""
    stream = configured()
    log.info("segment sealed", path="a b", rows=7)
    (event,) = written(stream)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "segment sealed",
        "path": "a b",
        "rows": 7,
        "level": "info",
        "logger": "trio_collector.feed.task",
    }


def test_any_value_can_be_logged() -> None:
    """A field that JSON does not know is written as Python shows it, never an error."""
    stream = configured()
    log.warning("odd fields", frame=b"\xff", number=2**80, text="\ud800 100 %s")
    (event,) = written(stream)
    assert (event["frame"], event["number"]) == ("b'\\xff'", 2**80)


def test_console() -> None:
    """A person gets one readable line."""
    stream = configured(log_format="console")
    log.info("segment sealed", rows=7)
    (line,) = stream.getvalue().splitlines()
    assert "[info" in line
    assert "segment sealed" in line
    assert "rows=7" in line


def test_auto_asks_the_stream() -> None:
    """Left to itself, it writes for a person on a terminal and JSON elsewhere."""
    terminal, pipe = Terminal(), io.StringIO()
    configure_logging(logging.INFO, "auto", terminal)
    log.info("hello")
    configure_logging(logging.INFO, "auto", pipe)
    log.info("hello")
    assert "\x1b[" in terminal.getvalue()
    assert len(written(pipe)) == 1


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_tracebacks_without_locals(log_format: LogFormat) -> None:
    """An exception is rendered with its traceback, and without the values of variables."""
    stream = configured(log_format=log_format)
    secrets = {"password": "hunter2"}
    try:
        _ = secrets["user"]
    except KeyError:
        log.exception("session failed")
    assert "Traceback (most recent call last)" in stream.getvalue()
    assert "KeyError" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_level() -> None:
    """What is below the level is not written."""
    stream = configured(logging.WARNING)
    log.info("no")
    log.warning("yes")
    assert [event["event"] for event in written(stream)] == ["yes"]


@pytest.mark.parametrize("library", ["trio-websocket", "hypercorn.error", "botocore.auth", "httpx"])
def test_libraries(library: str) -> None:
    """Libraries are heard from WARNING on, on the same stream, however low the level is."""
    stream = configured(logging.DEBUG)
    logging.getLogger(library).info("https://bucket.example/?X-Amz-Signature=secret")
    logging.getLogger(library).warning("trouble with %s", "x")
    log.debug("ours")
    assert [event["event"] for event in written(stream)] == ["trouble with x", "ours"]


def test_secretive_libraries_do_not_follow_the_root() -> None:
    """Those that log secrets stay at WARNING though something lowers the root logger."""
    stream = configured(logging.DEBUG)
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger("botocore.auth").debug("x-amz-security-token:secret")
    logging.getLogger("httpx").info("https://bucket.example/?X-Amz-Signature=secret")
    assert stream.getvalue() == ""


def test_set_up_again() -> None:
    """A second set-up replaces the first: no line is written twice."""
    first, second = configured(), configured()
    log.info("once")
    assert first.getvalue() == ""
    assert len(written(second)) == 1


def test_tests_can_listen() -> None:
    """`capture_logs` sees the events, set up or not."""
    with capture_logs() as before:
        log.info("early", rows=1)
    configured()
    with capture_logs() as after:
        log.info("late", rows=2)
    assert [(event["event"], event["rows"]) for event in before + after] == [
        ("early", 1),
        ("late", 2),
    ]


@pytest.mark.parametrize(
    ("environ", "level"),
    [
        ({}, logging.INFO),
        ({"LOG_LEVEL": ""}, logging.INFO),
        ({"LOG_LEVEL": "DEBUG"}, logging.DEBUG),
        ({"LOG_LEVEL": "warn"}, logging.WARNING),
    ],
)
def test_log_level(environ: dict[str, str], level: int) -> None:
    """The level is that of $LOG_LEVEL in any case of letters, INFO where it is not set."""
    assert log_level(environ) == level


def test_log_level_unknown() -> None:
    """A level that does not exist is a problem of $LOG_LEVEL."""
    with pytest.raises(ConfigError, match=r"^LOG_LEVEL: unknown level 'loud'; choose one of debug"):
        log_level({"LOG_LEVEL": "loud"})
