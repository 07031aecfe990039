"""What the feed needs to know of an exchange.

An adapter is pure: it says where to connect, what to send and how often, and what a frame means.
It never connects, sends, waits or reads a clock; the feed does. It holds no state of a connection,
so that one adapter serves every connection of its market.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from trio_collector.events import DATA_TYPE_OF, DataType, Event, FeedType, Parsed, Topic


class Subscription(NamedTuple):
    """One feed of one market; `symbol` as the configuration spells it."""

    symbol: str
    feed: FeedType


class SubscribeRequest(NamedTuple):
    """A text to send, and the topics that it asks for; `id` is None where the exchange has no ids."""

    id: str | None
    text: str
    topics: tuple[Topic, ...]


class SnapshotRequest(NamedTuple):
    """A whole book that is asked for by HTTP: GET `url`, at the cost of `weight`."""

    url: str
    weight: int


class Keepalive(NamedTuple):
    """What the client sends so that the exchange keeps the connection.

    `frame` is an empty WebSocket ping, `text` is a message. With `is_idle_only` it is sent when
    nothing was received for `interval_s`, else at every `interval_s`.
    """

    kind: Literal["frame", "text"]
    interval_s: float
    text: str = ""
    is_idle_only: bool = False


class Rate(NamedTuple):
    """At most `times` within `per_s` seconds."""

    times: int
    per_s: float


class Limits(NamedTuple):
    """What the exchange allows; each number carries its source where it is set."""

    connects: tuple[Rate, ...]
    topics_per_connection: int
    requests: Rate | None = None  # messages from us, on one connection
    rest_weight: Rate | None = None  # of HTTP requests, all together
    connections: int | None = None  # open at the same time, to one URL
    requests_together: Rate | None = None  # messages from us, on all connections
    topics_per_request: int | None = None  # None: all of them in one


class Adapter(Protocol):
    """One exchange, as its documents describe it."""

    name: str
    limits: Limits
    keepalive: Keepalive | None
    contiguous_ids: frozenset[DataType]  # data types whose ids leave no number out
    sends_acks: bool  # False: silence after a subscribe says nothing
    max_session_s: float | None  # the exchange ends every connection at this age
    fallback_url: str | None  # a base_url that may work where this one is blocked
    global_ids: frozenset[DataType]  # data types whose sequence ids are alike on every connection
    has_incremental_books: bool  # a book comes as a snapshot and changes to it; a file needs both
    known_fields: frozenset[str]  # the names of all fields that messages of data are known to have

    def normalize_symbol(self, symbol: str) -> str:
        """Return the name under which rows of `symbol` are kept: lower case, no `-_/`."""
        ...

    def websocket_url(self, line: int = 0) -> str:
        """Return the URL to connect to; follows `base_url`.

        Without one, line 1 goes to another address than line 0 where the exchange has two.
        """
        ...

    def build_subscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        """Return what to send for `subscriptions`; ids of requests count up from `first_id`."""
        ...

    def build_unsubscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        """Return what unsubscribes `subscriptions`, so that each can be subscribed again.

        The requests name no topics, because they ask for none. Empty where the exchange has no way
        to unsubscribe, or where resubscribing brings nothing.
        """
        ...

    def snapshot_request(self, symbol: str) -> SnapshotRequest | None:
        """Return how to ask for the whole book of `symbol`; None where the WebSocket brings it."""
        ...

    def parse_snapshot(self, symbol: str, body: bytes) -> Event:
        """Return what the answer to a snapshot request says; raises UnreadableFrame.

        Its `last_id` is the id that the book has reached; it follows no other event.
        """
        ...

    def parse_message(self, frame: bytes) -> Parsed:
        """Return what `frame` says: at most one event for each stream.

        Raises UnreadableFrame, and nothing else, whatever the bytes are.
        """
        ...


def topic_of(adapter: Adapter, subscription: Subscription) -> Topic:
    """Return the topic under which acks and events of `subscription` come."""
    return Topic(adapter.normalize_symbol(subscription.symbol), DATA_TYPE_OF[subscription.feed])
