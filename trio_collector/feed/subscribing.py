"""What a session has asked for, what was granted, and what was refused.

A topic is *waiting* from the request until an ack or a refusal names it, its request, or nothing
at all. Where the exchange sends no acks a topic is granted as soon as it is asked for.

A refusal is final for the topic that it names. If it names none, but its request had several
topics, each is asked for again on its own, so that one bad symbol takes no good one with it. So
are the others of a request that fell as a whole.
"""

from collections.abc import Iterable
from typing import NamedTuple

from trio_collector.events import Ack, Rejection, Topic
from trio_collector.exchanges.adapter import SubscribeRequest


class Refusal(NamedTuple):
    """What follows from a rejection: topics to give up, and groups of topics to ask for again."""

    refused: list[Topic]
    again: list[list[Topic]]


class Subscribing:
    """The state of one session's subscriptions."""

    def __init__(self, *, sends_acks: bool) -> None:
        self._sends_acks = sends_acks
        self._requests: dict[str, tuple[Topic, ...]] = {}
        self.waiting: dict[Topic, float] = {}  # since when
        self.granted: set[Topic] = set()
        self.refused: set[Topic] = set()

    def ask(self, request: SubscribeRequest, now: float) -> list[Topic]:
        """Note that `request` was sent; return the topics that count as granted by that."""
        if request.id is not None:
            self._requests[request.id] = request.topics
        if self._sends_acks:
            self.waiting.update(dict.fromkeys(request.topics, now))
            return []
        return self._grant(request.topics)

    def grant(self, ack: Ack) -> list[Topic]:
        """Note an ack; return the topics that it grants for the first time."""
        return self._grant(ack.topics or self._requests.get(ack.request_id or "", ()))

    def refuse(self, rejection: Rejection) -> Refusal:
        """Note a rejection; return what follows from it."""
        request = self._requests.get(rejection.request_id or "", tuple(self.waiting))
        named = [topic for topic in rejection.topics if topic not in self.granted]
        if not rejection.topics and len(request) > 1:
            return Refusal([], [[topic] for topic in request if topic not in self.granted])
        refused = named if rejection.topics else list(request)
        for topic in refused:
            self.waiting.pop(topic, None)
            self.refused.add(topic)
        rest = [topic for topic in request if topic not in self.refused | self.granted]
        return Refusal(refused, [rest] if rejection.is_whole_request and rest else [])

    def overdue(self, now: float, patience_s: float) -> list[Topic]:
        """Return the topics that have been waiting for `patience_s`."""
        return [topic for topic, since in self.waiting.items() if now - since >= patience_s]

    def _grant(self, topics: Iterable[Topic]) -> list[Topic]:
        fresh = [topic for topic in topics if topic not in self.granted]
        for topic in fresh:
            self.waiting.pop(topic, None)
        self.granted.update(fresh)
        return fresh
