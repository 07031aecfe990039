"""What an exchange begins to send that it did not send before.

Three signs, each reported once, or as a number:

* a *kind* of message that is not collected, or that nobody can read;
* a *field* that the adapter does not know, in messages that it does;
* a shift of the *mix* (`mix`).

Fields are looked for in samples, because a full decode costs as much as ten normal parses: in each stream's first message of a session, where a changed exchange shows first, in
every 1000th message, and in one each 0.1 s. That is 10 a second of a quiet exchange, and 0.1 % of
the messages of a busy one: below 0.2 % of a core for five exchanges together. Large messages are
whole books, whose updates have the same fields; they are left out, because sampling them costs more.

What is named here is chosen by the exchange, so it is bounded: in length, in how many names are
told, and in how many are remembered. All sessions with one exchange share one of these.
"""

import re
from collections.abc import Set
from typing import NamedTuple

import orjson

from trio_collector.events import DataType, Topic, UnknownMessage
from trio_collector.exchanges.adapter import Adapter
from trio_collector.feed.decoder import Decoded
from trio_collector.feed.health.mix import Mix
from trio_collector.telemetry import metrics

SAMPLE_S = 0.1
SAMPLE_MESSAGES = 1000
MOST_BYTES = 16_384  # the books of 50 levels have 3 kB, those of Upbit 5 kB
MOST_NAMES = 20
MOST_REMEMBERED = 1000
MOST_LETTERS = 80

NEW_KIND = "message kept as unparsed"
NEW_FIELD = "unknown field"


class DriftWarning(NamedTuple):
    """Something to log: a fixed phrase, and what it is about."""

    phrase: str
    fields: dict[str, str]


class Drift:
    """The drift of one exchange; `now` is monotonic, in seconds."""

    def __init__(self, adapter: Adapter, now: float) -> None:
        self._known = adapter.known_fields
        self._kinds = _Names(NEW_KIND, "kind")
        self._fields = _Names(NEW_FIELD, "field")
        self._new_kinds = metrics.unknown_kinds.labels(adapter.name)
        self._new_fields = metrics.unknown_fields.labels(adapter.name)
        self._shift = metrics.mix_shift.labels(adapter.name)
        self._mix = Mix(now)
        self._unsampled = 0
        self._sample_at = now

    def observe(
        self, decoded: Decoded, now: float, live: Set[Topic] = frozenset()
    ) -> list[DriftWarning]:
        """Take note of what came with one read; return what is to be told.

        `live` are the topics of which it brought a session's first data.
        """
        warnings: list[DriftWarning] = []
        if live:
            self._check_first_messages(decoded, live, warnings)
        count = self._mix.count
        for batch in decoded.batches:
            count(batch.stream.data_type, len(batch.frames))
        if decoded.controls or decoded.unreadable:
            self._add_kinds(decoded, warnings)
        self._unsampled += decoded.frames
        if now >= self._sample_at or self._unsampled >= SAMPLE_MESSAGES:
            self._sample(decoded, now, warnings)
        return warnings

    def check_fields(self, frame: bytes) -> list[DriftWarning]:
        """Look for unknown fields in `frame`; return what is to be told."""
        if len(frame) > MOST_BYTES or not self._known:
            return []
        unknown = field_names(frame) - self._known
        return [each for name in sorted(unknown) for each in self._add_field(name)]

    def _check_first_messages(
        self, decoded: Decoded, live: Set[Topic], warnings: list[DriftWarning]
    ) -> None:
        for batch in decoded.batches:
            if batch.frames and batch.stream.topic in live:
                warnings += self.check_fields(batch.frames[0])

    def _add_kinds(self, decoded: Decoded, warnings: list[DriftWarning]) -> None:
        for control in decoded.controls:
            self._mix.count(type(control).__name__, 1)
            if isinstance(control, UnknownMessage):
                warnings += self._add_kind(control.kind)
        for frame in decoded.unreadable:
            # Parsers name positions, and each is a text of its own.
            warnings += self._add_kind(f"unreadable: {re.sub(r'[0-9]+', '#', frame.reason)}")

    def _add_kind(self, kind: str) -> list[DriftWarning]:
        is_new, warnings = self._kinds.add(kind)
        self._new_kinds.inc(is_new)
        return warnings

    def _add_field(self, name: str) -> list[DriftWarning]:
        is_new, warnings = self._fields.add(name)
        self._new_fields.inc(is_new)
        return warnings

    def _sample(self, decoded: Decoded, now: float, warnings: list[DriftWarning]) -> None:
        """Do what is done now and then: look at a message, and at the mix."""
        data = [
            each
            for each in decoded.batches
            if each.frames and each.stream.data_type is not DataType.UNPARSED
        ]
        if data:
            batch = data[self._unsampled % len(data)]  # not the same one each time
            warnings += self.check_fields(batch.frames[-1])
            self._unsampled = 0
            self._sample_at = now + SAMPLE_S
        shift = self._mix.close_window(now)
        if shift is not None:
            self._shift.set(shift)


class _Names:
    """Names that an exchange chooses: each is told once, as long as there are not too many."""

    def __init__(self, phrase: str, what: str) -> None:
        self._phrase = phrase
        self._what = what
        self._seen: set[str] = set()

    def add(self, name: str) -> tuple[bool, list[DriftWarning]]:
        """Return whether `name` is new, and what is to be told."""
        name = name[:MOST_LETTERS]
        if name in self._seen or len(self._seen) >= MOST_REMEMBERED:
            return False, []
        self._seen.add(name)
        if len(self._seen) <= MOST_NAMES:
            return True, [DriftWarning(self._phrase, {self._what: name})]
        if len(self._seen) == MOST_NAMES + 1:
            return True, [
                DriftWarning(self._phrase, {self._what: "and more, which are only counted"})
            ]
        return True, []


def field_names(frame: bytes) -> set[str]:
    """Return the names of all fields of a JSON message, at any depth; none if it is no JSON."""
    try:
        waiting = [orjson.loads(frame)]
    except ValueError:
        return set()
    names: set[str] = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            names.update(value)
            waiting += [each for each in value.values() if isinstance(each, (dict, list))]
        elif isinstance(value, list):
            waiting += [each for each in value if isinstance(each, (dict, list))]
    return names
