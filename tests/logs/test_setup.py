"""One handler renders what this package and its libraries log."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from structlog.testing import capture_logs

from trio_collector.errors import ConfigError
from trio_collector.logs.queue import LogQueue
from trio_collector.logs.redaction import secret_values
from trio_collector.logs.setup import (
    LogFiles,
    LogFormat,
    configure_logging,
    flush_logging,
    log_level,
)

log = structlog.get_logger("trio_collector.feed.task")


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

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
    for handler in set(logging.getLogger().handlers) - set(handlers):
        handler.close()
    logging.getLogger().handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def text_of(stream: io.StringIO) -> str:
    """Return what is on `stream` when every line is written."""
    assert flush_logging()
    return stream.getvalue()


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the events in the lines of JSON on `stream`."""
    return [json.loads(line) for line in text_of(stream).splitlines()]


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
    (line,) = text_of(stream).splitlines()
    assert "[info" in line
    assert "segment sealed" in line
    assert "rows=7" in line


def test_auto_asks_the_stream() -> None:
    """By default it writes for a person on a terminal, and JSON elsewhere."""
    terminal, pipe = Terminal(), io.StringIO()
    configure_logging(logging.INFO, "auto", terminal)
    log.info("hello")
    configure_logging(logging.INFO, "auto", pipe)
    log.info("hello")
    assert "\x1b[" in text_of(terminal)
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
    assert "Traceback (most recent call last)" in text_of(stream)
    assert "KeyError" in text_of(stream)
    assert "hunter2" not in text_of(stream)


def test_level() -> None:
    """What is below the level is not written."""
    stream = configured(logging.WARNING)
    log.info("no")
    log.warning("yes")
    assert [event["event"] for event in written(stream)] == ["yes"]


@pytest.mark.parametrize("library", ["trio-websocket", "hypercorn.error", "botocore.auth", "httpx"])
def test_libraries(library: str) -> None:
    """Libraries are logged from WARNING on, on the same stream, however low the level is."""
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
    assert text_of(stream) == ""


def test_set_up_again() -> None:
    """A second set-up replaces the first: no line is written twice."""
    first, second = configured(), configured()
    log.info("once")
    assert text_of(first) == ""
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


def test_a_condition_that_repeats() -> None:
    """What repeats is one line, and a count when logging ends at the latest."""
    stream = configured()
    for number in range(5):
        log.warning("no data", connection="x", limit_s=number)
    log.warning("no data", connection="y")
    assert [event["connection"] for event in written(stream)] == ["x", "y"]
    configure_logging(stream=io.StringIO())
    counts = [event for event in written(stream) if "repeated" in event]
    assert [(event["limit_s"], event["repeated"]) for event in counts] == [(4, 4)]


# A word that is in no code, so that no traceback quotes it innocently.
CANARIES = {
    "AWS_SECRET_KEY": "kanari7/aws+secret",
    "AWS_SESSION_TOKEN": "kanari7-session-token",
    "COINBASE_API_SECRET": "-----BEGIN EC PRIVATE KEY-----\\nMHcCAQkanari7\\nAwEHoUkanari7b\\n",
}


def sign(secret: str) -> None:
    """Fail, with a secret in the exception."""
    raise RuntimeError(f"cannot sign with {secret}")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_canary_gets_out(log_format: LogFormat, tmp_path: Path) -> None:
    """No way of logging a secret writes it: field, phrase, exception, or a library, on no target."""
    stream = io.StringIO()
    secrets = secret_values(CANARIES)
    files = LogFiles(tmp_path, 1)
    configure_logging(logging.DEBUG, log_format, stream, files=files, secrets=secrets)
    for secret in (*CANARIES.values(), *secrets):
        log.error("failed with %s", secret)
        log.error("failed", detail=secret, nested={"deep": [secret]}, raw=secret.encode())
        logging.getLogger("botocore").warning("headers: %r", {"x-amz-security-token": secret})
        try:
            sign(secret)
        except RuntimeError:
            log.exception("bug in a session")
            logging.getLogger("hypercorn.error").exception("Error in ASGI Framework")
    (file,) = tmp_path.iterdir()
    for text in (text_of(stream), file.read_text()):
        assert "kanari7" not in text
        assert text.count("[redacted]") > 20


def test_files(tmp_path: Path) -> None:
    """With a folder, each line is also in the file of the day: JSON unless "console" is asked for."""
    for log_format, first in (("auto", "{"), ("json", "{"), ("console", "2")):
        folder = tmp_path / log_format
        stream = Terminal()
        configure_logging(
            logging.INFO, cast("LogFormat", log_format), stream, files=LogFiles(folder, 1)
        )
        log.info("segment sealed", rows=7)
        assert flush_logging()
        (file,) = folder.iterdir()
        assert file.read_text().startswith(first)
        assert "\x1b" not in file.read_text()
        assert "segment sealed" in stream.getvalue()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A log_dir that cannot be written to is a problem of the configuration."""
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigError, match=r"^collector\.log_dir: '.*/file/log' cannot be written: "
    ):
        configure_logging(stream=io.StringIO(), files=LogFiles(tmp_path / "file" / "log", 1))


def test_a_folder_that_goes_away(tmp_path: Path) -> None:
    """A log file that cannot be written later is reported once, and costs no line of the stream."""
    stream = io.StringIO()
    configure_logging(log_format="json", stream=stream, files=LogFiles(tmp_path / "log", 1))
    (file,) = (tmp_path / "log").iterdir()
    sink = next(
        target.sink
        for handler in logging.getLogger().handlers
        if isinstance(handler, LogQueue)
        for target in handler._targets
        if target.name == "file"
    )
    sink.close()
    file.unlink()
    (tmp_path / "log").rmdir()
    (tmp_path / "log").touch()
    for number in range(3):
        log.info("hello", number=number)
        assert flush_logging()
    events = written(stream)
    assert [event["event"] for event in events].count("hello") == 3
    assert [event["event"] for event in events].count("log file cannot be written") == 1
