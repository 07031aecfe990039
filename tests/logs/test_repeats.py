"""What repeats within a minute is logged once and then counted; nothing else is held back."""

import logging
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trio_collector.logs.repeats import MINUTE_S, Repeats


def record(
    at_s: float, event: str, level: int = logging.WARNING, **fields: Any
) -> logging.LogRecord:
    """Return a record as structlog makes it, of the time `at_s`."""
    return logging.makeLogRecord(
        {
            "name": "trio_collector.test",
            "created": at_s,
            "levelno": level,
            "msg": {"event": event, **fields},
        }
    )


def told(records: list[logging.LogRecord]) -> list[dict[str, Any]]:
    """Return the phrases of the records."""
    return [dict(each.msg) for each in records if isinstance(each.msg, dict)]


def test_once_then_a_count() -> None:
    """The first is written at once; when its minute ends, the latest with how many were held back."""
    repeats = Repeats()
    written = [
        told(repeats.admit(record(second, "no data", connection="x", limit_s=second)))
        for second in range(120)
    ]
    assert written[0] == [{"event": "no data", "connection": "x", "limit_s": 0}]
    assert written[60] == [{"event": "no data", "connection": "x", "limit_s": 59, "repeated": 59}]
    assert sum(map(len, written)) == 2


def test_a_minute_without_it_forgets() -> None:
    """What has not happened for a minute is written at once again; a count of zero is not written."""
    repeats = Repeats()
    assert len(repeats.admit(record(0, "no data"))) == 1
    assert told(repeats.admit(record(61, "no data"))) == [{"event": "no data"}]


def test_a_count_comes_without_another() -> None:
    """Any record, such as the minute line, ends the minutes that are over."""
    repeats = Repeats()
    repeats.admit(record(0, "no data"))
    repeats.admit(record(1, "no data"))
    due = repeats.admit(record(60, "last minute", logging.INFO))
    assert told(due) == [{"event": "no data", "repeated": 1}, {"event": "last minute"}]
    assert [each.created for each in due] == [60, 60]
    assert told(repeats.admit(record(120, "last minute", logging.INFO))) == [
        {"event": "last minute"}
    ]


def test_identity_and_measures() -> None:
    """The same phrase about something else is another condition; other numbers are not."""
    repeats = Repeats()
    assert len(repeats.admit(record(0, "messages missing", connection="a", missing=1))) == 1
    assert len(repeats.admit(record(1, "messages missing", connection="b", missing=1))) == 1
    assert len(repeats.admit(record(2, "messages missing", connection="a", missing=7))) == 0
    assert len(repeats.admit(record(3, "messages missing", logging.ERROR, connection="a"))) == 1


def test_info_is_never_held_back() -> None:
    """Each INFO is something that was finished."""
    repeats = Repeats()
    for second in range(5):
        assert len(repeats.admit(record(second, "segment sealed", logging.INFO))) == 1


def test_tracebacks_are_compared_word_for_word() -> None:
    """Another bug under the same phrase is written; the same bug is counted."""
    repeats = Repeats()

    def bug(at_s: float, traceback: str) -> logging.LogRecord:
        return record(at_s, "bug in a session", logging.ERROR, exception=traceback)

    assert len(repeats.admit(bug(0, "KeyError: 'a'"))) == 1
    assert len(repeats.admit(bug(1, "KeyError: 'b'"))) == 1
    assert len(repeats.admit(bug(2, "KeyError: 'a'"))) == 0
    (count,) = repeats.admit(bug(60, "KeyError: 'c'"))[:1]
    assert told([count]) == [{"event": "bug in a session", "repeated": 1}]


def foreign(at_s: float, message: str, *args: object) -> logging.LogRecord:
    """Return a record as a library makes it, with the exception being handled."""
    created = logging.LogRecord(
        "hypercorn.error", logging.ERROR, "x.py", 1, message, args, sys.exc_info()
    )
    created.created = at_s
    return created


def fail(fault: str) -> None:
    """Fail."""
    raise ValueError(fault)


def test_libraries() -> None:
    """A library's message is identified by its text and traceback."""
    repeats = Repeats()
    kept = []
    for second, fault in enumerate(("one", "one", "two")):
        try:
            fail(fault)
        except ValueError:
            kept.append(repeats.admit(foreign(second, "Error in %s", "ASGI")))
    assert list(map(len, kept)) == [1, 0, 1]
    (count,) = repeats.take_counts()
    assert count.getMessage() == "Error in ASGI (repeated=1)"
    assert count.exc_info is None


def test_memory_is_bounded() -> None:
    """Of a flood of different conditions few are remembered, and no count is lost."""
    repeats = Repeats(limit=3)
    written = told(repeats.admit(record(0, "old"))) + told(repeats.admit(record(0, "old")))
    for number in range(50):
        written += told(repeats.admit(record(1, "flood", path=str(number))))
    assert len(repeats._minutes) == 3
    assert {"event": "old", "repeated": 1} in written
    assert len(written) == 52


def test_a_clock_set_back_hides_nothing() -> None:
    """After the clock was set back an hour, a condition is written again at once."""
    repeats = Repeats()
    repeats.admit(record(7200, "no data"))
    assert len(repeats.admit(record(3600, "no data"))) == 1


@given(
    st.lists(
        st.tuples(
            st.floats(0, 50), st.sampled_from("abcde"), st.sampled_from([20, 30, 40]), st.booleans()
        ),
        max_size=60,
    )
)
def test_nothing_is_lost(steps: list[tuple[float, str, int, bool]]) -> None:
    """Whatever happens when: what is written and what is counted add up to what was logged."""
    repeats, now_s = Repeats(limit=3), 1000.0
    written: list[dict[str, Any]] = []
    for wait_s, path, level, has_traceback in steps:
        now_s += wait_s
        extra = {"exception": path} if has_traceback else {}
        written += told(repeats.admit(record(now_s, "x", level, path=path, **extra)))
        assert len(repeats._minutes) <= 3
        assert all(now_s - each.opened_s < MINUTE_S for each in repeats._minutes.values())
    written += told(repeats.take_counts())
    assert sum(each.get("repeated", 1) for each in written) == len(steps)
