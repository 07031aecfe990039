"""Holes and repetitions, proven by the exchange's own ids.

One rule serves every exchange. An event says which id it follows (`previous_id`) and with which it
ends (`last_id`); if a stream's latest `last_id` is not the one that is followed, then

* an event that lies within what the stream has covered since it last started afresh is a
  duplicate: each hole in there was reported when it was passed over;
* with ids that leave no number out, one that has some of that and more, behind it or before, is an
  overlap, such as the past trades an exchange sends after a reconnect: nothing is missing;
* everything else is a gap, and the stream goes on from the event. In doubt it is a gap: a false
  alarm costs a look, a hidden hole costs the archive.

An event that does follow is never questioned. OKX goes back to a smaller id in maintenance, with
`previous_id` in order; what the stream covers starts afresh there. Ids of streams are kept over
reconnects, so that a hole between two sessions is found where ids outlive a connection; where they
do not, the new session begins with `is_reset`.

An exchange that counts the frames of a connection is checked by that count too.
"""

from collections.abc import Container
from typing import NamedTuple

import msgspec

from trio_collector.events import ConnectionSequence, DataType, Event, Topic


class Gap(NamedTuple):
    """Something is missing between `expected` and `got`.

    For a stream these are the id that the event should follow and the one that it follows, for a
    connection the frame's due number and the one it has. `missing` is how many ids (not messages)
    lie between; None where ids leave numbers out or went back.
    """

    expected: int
    got: int
    missing: int | None


class Duplicate(NamedTuple):
    """An event or frame that ends with `got` came though the ids had reached `known`."""

    known: int
    got: int


class SequenceFinding(NamedTuple):
    """What the ids say about `topic`; about the whole connection where that is None.

    `at_us` is when it was found, if that was not with the rows that it comes with.
    """

    topic: Topic | None
    finding: Gap | Duplicate
    at_us: int | None = None


class _Covered(msgspec.Struct, gc=False):
    """What a stream has covered since it last started afresh: behind `after`, up to `last_id`."""

    after: int
    last_id: int


class SequenceChecker:
    """The ids of one exchange's streams and of one connection at a time.

    `contiguous_ids` names the data types whose ids leave no number out: trades of Binance, Coinbase
    and OKX, books of Binance and Bybit; not books of OKX.
    """

    def __init__(self, contiguous_ids: Container[DataType] = ()) -> None:
        self._contiguous_ids = contiguous_ids
        self._streams: dict[tuple[str, DataType], _Covered] = {}
        self._due: int | None = None

    def reached(self, topic: Topic) -> int | None:
        """Return the id that the stream of `topic` has reached; None if it has none."""
        covered = self._streams.get(topic)
        return None if covered is None else covered.last_id

    def check(self, event: Event) -> Gap | Duplicate | None:
        """Return what `event` proves about its stream."""
        if event.last_id is None:
            return None
        stream = (event.symbol, event.data_type)
        covered = self._streams.get(stream)
        if covered is not None and event.previous_id == covered.last_id <= event.last_id:
            covered.last_id = event.last_id  # as nearly always; `_advance` says the same, slower
            return None
        if event.is_reset or event.previous_id is None:
            self._streams[stream] = _Covered(event.last_id, event.last_id)
            return None
        came = _Covered(event.previous_id, event.last_id)
        if covered is None:
            self._streams[stream] = came
            return None
        is_contiguous = event.data_type in self._contiguous_ids
        self._streams[stream], found = _advance(covered, came, is_contiguous=is_contiguous)
        return found

    def check_connection(self, sequence: ConnectionSequence) -> Gap | Duplicate | None:
        """Return what a frame's number proves; the first one of a session may be any."""
        due, number = self._due, sequence.number
        if due is not None and number < due:
            return Duplicate(due - 1, number)
        self._due = number + 1
        if due is None or number == due:
            return None
        return Gap(due, number, number - due)


def _advance(
    covered: _Covered, came: _Covered, *, is_contiguous: bool
) -> tuple[_Covered, Gap | Duplicate | None]:
    """Return what is covered once `came` did, and what that proves."""
    reached = covered.last_id
    if came.after == reached:
        after = covered.after if came.last_id >= reached else came.last_id
        return _Covered(after, came.last_id), None
    if covered.after <= came.after < reached:
        if came.last_id <= reached:
            return covered, Duplicate(reached, came.last_id)
        if is_contiguous:
            return _Covered(covered.after, came.last_id), None
    if is_contiguous and came.after < covered.after <= came.last_id:
        return _Covered(came.after, max(reached, came.last_id)), None
    if came.after < reached:
        return came, Gap(reached, came.after, None)
    missing = came.after - reached if is_contiguous else None
    return _Covered(covered.after, came.last_id), Gap(reached, came.after, missing)
