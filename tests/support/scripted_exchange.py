"""A `ScriptedAdapter` is the exchange of tests that are about sessions and not about frames."""

from collections.abc import Sequence
from typing import Any

from trio_collector import events
from trio_collector.errors import UnreadableFrame
from trio_collector.events import DataType, FeedType, Topic
from trio_collector.exchanges.adapter import (
    Keepalive,
    Limits,
    SnapshotRequest,
    SubscribeRequest,
    Subscription,
    topic_of,
)
from trio_collector.feed.planning.connections import ConnectionPlan


class ScriptedAdapter:
    """An exchange whose messages are words, so that a test says what it means.

    A frame holds one thing or several, with "; " between them:

        trade btc 5          an event with id 5, which follows on 4
        reset trade btc 5    the same, which starts the stream afresh
        span trade btc 2 5   one of the ids 2 to 5
        ack 1 · ack trade btc            by request, or by topic
        no 1 why · no - why · no trade btc why · fell trade btc why
        pong · beat · odd KIND · bye WHY · echo TEXT · seq 7
        bug                  the adapter fails as it must not

    Everything else is unreadable. A request reads `sub 1 trade btc, trade eth`.
    """

    name = "scripted"
    limits = Limits(connects=(), topics_per_connection=100)
    keepalive: Keepalive | None = None
    contiguous_ids: frozenset[DataType] = frozenset({DataType.TRADE})
    sends_acks = True
    max_session_s: float | None = None
    fallback_url: str | None = None
    global_ids: frozenset[DataType] = frozenset({DataType.TRADE})
    has_incremental_books = False
    known_fields: frozenset[str] = frozenset()
    has_unsubscribe = False
    rest_url: str | None = None
    topics_per_request = 10
    has_ids = True

    def __init__(self, **traits: Any) -> None:
        for name, trait in traits.items():
            setattr(self, name, trait)

    def normalize_symbol(self, symbol: str) -> str:
        return symbol.lower()

    def websocket_url(self, line: int = 0) -> str:
        return "ws://exchange.test/feed" if line == 0 else "ws://second.test/feed"

    def build_subscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        starts = range(0, len(subscriptions), self.topics_per_request)
        return [
            self._request(str(number), subscriptions[start : start + self.topics_per_request])
            for number, start in enumerate(starts, first_id)
        ]

    def _request(self, number: str, subscriptions: Sequence[Subscription]) -> SubscribeRequest:
        topics = tuple(topic_of(self, each) for each in subscriptions)
        names = ", ".join(f"{topic.data_type} {topic.symbol}" for topic in topics)
        request_id = number if self.has_ids else None
        return SubscribeRequest(request_id, f"sub {request_id or '-'} {names}", topics)

    def build_unsubscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        if not self.has_unsubscribe:
            return []
        request = self._request(str(first_id), subscriptions)
        return [request._replace(text=f"un{request.text}", topics=())]

    def snapshot_request(self, symbol: str) -> SnapshotRequest | None:
        return SnapshotRequest(f"{self.rest_url}/{symbol}", 1) if self.rest_url else None

    def parse_snapshot(self, symbol: str, body: bytes) -> events.Event:
        try:
            (event,) = self.parse_message(body)
        except ValueError as exc:
            raise UnreadableFrame(self.name, str(exc), body) from exc
        assert isinstance(event, events.Event)
        return event

    def parse_message(self, frame: bytes) -> events.Parsed:
        return [
            self._parse(part.split(), frame) for part in frame.decode(errors="replace").split("; ")
        ]

    def _parse(self, words: list[str], frame: bytes) -> events.Event | events.Control:
        match words:
            case ["trade" | "orderbook" as kind, symbol, number]:
                last_id = int(number)
                return events.Event(symbol, DataType(kind), number, None, last_id - 1, last_id)
            case ["span", "trade" | "orderbook" as kind, symbol, first, number]:
                return events.Event(
                    symbol, DataType(kind), number, None, int(first) - 1, int(number)
                )
            case ["reset", "trade" | "orderbook" as kind, symbol, number]:
                last_id = int(number)
                return events.Event(
                    symbol, DataType(kind), number, None, None, last_id, is_reset=True
                )
            case ["ack", "trade" | "orderbook" as kind, symbol]:
                return events.Ack(topics=(Topic(symbol, DataType(kind)),))
            case ["ack", request_id]:
                return events.Ack(request_id)
            case ["no" | "fell" as verb, "trade" | "orderbook" as kind, symbol, *why]:
                topics = (Topic(symbol, DataType(kind)),)
                is_whole = verb == "fell"
                return events.Rejection(" ".join(why), topics=topics, is_whole_request=is_whole)
            case ["no", request_id, *why]:
                return events.Rejection(" ".join(why), None if request_id == "-" else request_id)
            case ["pong"]:
                return events.Pong()
            case ["beat"]:
                return events.Heartbeat()
            case ["odd", kind]:
                return events.UnknownMessage(kind)
            case ["bye", *why]:
                return events.GoingAway(" ".join(why))
            case ["echo", text]:
                return events.Echo(text)
            case ["seq", number]:
                return events.ConnectionSequence(int(number))
            case ["bug"]:
                raise KeyError("a bug in the adapter")
        raise UnreadableFrame(self.name, "not a word", frame)


def make_connection(*topics: str, data_timeout_s: float = 90.0, **traits: Any) -> ConnectionPlan:
    """Make a connection to a scripted exchange: `make_connection("trade btc", sends_acks=False)`."""
    feeds = {"trade": FeedType.TRADES, "orderbook": FeedType.ORDERBOOK}
    named = [topic.split() for topic in topics or ("trade btc",)]
    subscriptions = tuple(Subscription(symbol, feeds[kind]) for kind, symbol in named)
    return ConnectionPlan("feed", ScriptedAdapter(**traits), subscriptions, data_timeout_s)
