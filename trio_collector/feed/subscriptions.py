"""What a session has asked for, what was granted, and what was refused.

A topic is *waiting* from the request until an ack or a refusal names it, its request, or nothing
at all; or until its data comes, which says as much as an ack. Where the exchange sends no acks a
topic is granted as soon as it is asked for.

A refusal is final for the topic that it names. If it names none, but its request had several
topics, each is asked for again on its own, so that one bad symbol takes no good one with it. So
are the others of a request that fell as a whole. Where answers do not name their request, the next
one waits for the answer to the one before. Every refusal thus gives up a topic or asks for fewer at
a time, and the asking comes to an end.
"""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from trio_collector.events import Ack, Rejection, Topic
from trio_collector.exchanges.adapter import SubscribeRequest


class Refusal(NamedTuple):
    """What follows from a rejection: topics to give up, and groups of topics to ask for again."""

    refused: list[Topic]
    again: list[list[Topic]]


class Subscriptions:
    """The state of one session's subscriptions; `now` is a listening time, in seconds."""

    def __init__(self, *, sends_acks: bool) -> None:
        self._sends_acks = sends_acks
        self._requests: dict[str, tuple[Topic, ...]] = {}
        self._requested: set[Topic] = set()
        self._is_ambiguous = False  # a refusal came that named nothing at all
        self.waiting: dict[Topic, float] = {}  # since when
        self.granted: set[Topic] = set()
        self.refused: set[Topic] = set()

    def is_needed(self, request: SubscribeRequest) -> bool:
        """Whether something in `request` is still to be asked for; or it asks for no topic."""
        return not request.topics or bool(self._unsettled(request.topics))

    def must_wait(self, request: SubscribeRequest) -> bool:
        """Whether the answer to `request` could be taken for that to an earlier one."""
        is_alike = request.id is None or self._is_ambiguous
        return is_alike and bool(request.topics and self.waiting)

    def record_request(self, request: SubscribeRequest, now: float) -> None:
        """Note that `request` is about to be sent."""
        if request.id is not None:
            self._requests[request.id] = request.topics
        self._requested.update(request.topics)
        if self._sends_acks:
            self.waiting.update(dict.fromkeys(self._unsettled(request.topics), now))

    def record_sent(self, request: SubscribeRequest) -> list[Topic]:
        """Note that `request` was sent; return the topics that count as granted by that."""
        return [] if self._sends_acks else self._grant(request.topics)

    def grant(self, ack: Ack) -> list[Topic]:
        """Note an ack; return the topics that it grants for the first time."""
        topics = ack.topics or self._requests.get(ack.request_id or "", ())
        return self._grant(topic for topic in topics if topic in self._requested)

    def record_data(self, topic: Topic) -> list[Topic]:
        """Note data of `topic`; return it if that is what shows that it is granted."""
        return self._grant([topic] if topic in self._requested else [])

    def refuse(self, rejection: Rejection) -> Refusal:
        """Note a rejection; return what follows from it."""
        fallen = self._unsettled(self._requests.get(rejection.request_id or "", self.waiting))
        named = [topic for topic in rejection.topics if topic in fallen]
        if rejection.topics and not named and not rejection.is_whole_request:
            return Refusal([], [])  # it is about something else
        if named:
            rest = [topic for topic in fallen if topic not in named]
            return self._give_up(named, [rest] if rest and rejection.is_whole_request else [])
        if self._requests.pop(rejection.request_id or "", None) is None:
            self._is_ambiguous = True
        if len(fallen) > 1:
            return self._give_up([], [[topic] for topic in fallen])
        return self._give_up(fallen, [])

    def _give_up(self, refused: list[Topic], again: list[list[Topic]]) -> Refusal:
        self.refused.update(refused)
        for topic in (*refused, *itertools.chain.from_iterable(again)):
            self.waiting.pop(topic, None)
        return Refusal(refused, again)

    def reopen(self, topics: Iterable[Topic]) -> None:
        """Let granted `topics` be asked for once more."""
        self.granted.difference_update(topics)

    def next_deadline(self, now: float, patience_s: float) -> float:
        """Return when a topic will have been waiting for `patience_s`, at the earliest."""
        return min(self.waiting.values(), default=now) + patience_s

    def overdue(self, now: float, patience_s: float) -> list[Topic]:
        """Return the topics that have been waiting for `patience_s`."""
        return [topic for topic, since in self.waiting.items() if now >= since + patience_s]

    def _unsettled(self, topics: Iterable[Topic]) -> list[Topic]:
        return [topic for topic in topics if topic not in self.granted | self.refused]

    def _grant(self, topics: Iterable[Topic]) -> list[Topic]:
        fresh = [topic for topic in topics if topic not in self.granted]
        for topic in fresh:
            self.waiting.pop(topic, None)
        self.granted.update(fresh)
        self.refused.difference_update(fresh)
        return fresh
