"""A condition that repeats is logged once, then as a count.

A condition is an event at WARNING or above: its logger, level and phrase, and those fields that tell
what it is about (`IDENTITY`); other fields, such as counts, are measures of it. Its first record is
written at once. Records that follow within a minute are counted, and when the minute ends the latest
of them is written with `repeated=N`; that line opens the next minute. A condition that lasts costs
one line a minute; one that has not occurred for a minute is forgotten.

* INFO is never held back: each one is something that was finished.
* A traceback is part of the condition, word for word. Two different bugs never count as one.
* At most `limit` conditions are remembered; the oldest makes room, and its count is written then.
* Time is that of the records. If the clock was set back, open minutes end.
"""

import copy
import logging
import traceback
from collections import OrderedDict
from collections.abc import Iterator
from hashlib import blake2b

import msgspec

MINUTE_S = 60.0
MAX_CONDITIONS = 1000

# Fields that tell one condition from another. Ids, times and amounts are not among them: they
# differ each time, and nothing would ever repeat.
IDENTITY = (
    "connection",
    "exchange",
    "symbol",
    "data_type",
    "topics",
    "stream",
    "reason",
    "kind",
    "path",
    "place",
    "problem",
    "bucket",
    "header",
    "task",
)

Condition = tuple[object, ...]


class _Minute(msgspec.Struct):
    """A condition since `opened_s`: its latest record, and how many were held back."""

    opened_s: float
    latest: logging.LogRecord
    repeated: int = 0

    def is_over(self, now_s: float) -> bool:
        return not 0 <= now_s - self.opened_s < MINUTE_S


class Repeats:
    """Decides which records are written; give it every record, in order."""

    def __init__(self, limit: int = MAX_CONDITIONS) -> None:
        self._limit = limit
        # In the order in which the minutes were opened, so that the first is over first.
        self._minutes: OrderedDict[Condition, _Minute] = OrderedDict()

    def admit(self, record: logging.LogRecord) -> list[logging.LogRecord]:
        """Return the records to write now: counts that are due, and `record` if it is no repetition."""
        due = list(self._end_minutes(record.created))
        if record.levelno < logging.WARNING:
            return [*due, record]
        condition = _condition(record)
        minute = self._minutes.get(condition)
        if minute is not None:
            minute.latest = record
            minute.repeated += 1
            return due
        due += self._make_room()
        self._minutes[condition] = _Minute(record.created, record)
        return [*due, record]

    def take_counts(self) -> list[logging.LogRecord]:
        """Return the counts of all open minutes, and forget all conditions."""
        minutes = self._minutes.values()
        counts = [_count(each, each.latest.created) for each in minutes if each.repeated]
        self._minutes.clear()
        return counts

    def _end_minutes(self, now_s: float) -> Iterator[logging.LogRecord]:
        while self._minutes:
            condition, minute = next(iter(self._minutes.items()))
            if not minute.is_over(now_s):
                return
            del self._minutes[condition]
            if minute.repeated:
                yield _count(minute, now_s)
                self._minutes[condition] = _Minute(now_s, minute.latest)

    def _make_room(self) -> Iterator[logging.LogRecord]:
        while len(self._minutes) >= self._limit:
            _condition, oldest = self._minutes.popitem(last=False)
            if oldest.repeated:
                yield _count(oldest, oldest.latest.created)


def _condition(record: logging.LogRecord) -> Condition:
    what: tuple[object, ...]
    if isinstance(record.msg, dict):
        what = (
            record.msg.get("event"),
            *(str(record.msg[name]) if name in record.msg else None for name in IDENTITY),
        )
    else:
        what = (record.getMessage(),)  # of a library
    return record.name, record.levelno, *what, _traceback_digest(record)


def _traceback_digest(record: logging.LogRecord) -> bytes | None:
    if isinstance(record.msg, dict):
        text = record.msg.get("exception")
    elif record.exc_info and record.exc_info[1]:
        text = "".join(traceback.format_exception(record.exc_info[1]))
    else:
        text = None
    # A digest, because tracebacks are long and are kept for a minute.
    return text and blake2b(text.encode(errors="replace"), digest_size=16).digest()


def _count(minute: _Minute, now_s: float) -> logging.LogRecord:
    """Return the latest record of `minute`, with the time `now_s` and the count."""
    record = copy.copy(minute.latest)
    record.created = now_s
    record.exc_info = None  # the same traceback was written when the condition began
    if isinstance(record.msg, dict):
        fields = {name: value for name, value in record.msg.items() if name != "exception"}
        record.msg = {**fields, "repeated": minute.repeated}
    else:
        record.msg, record.args = f"{record.getMessage()} (repeated={minute.repeated})", None
    return record
