"""What the feed needs to know of an exchange.

An adapter is pure: it says where to connect, what to send and how often, and what a frame means.
It never connects, sends, waits or reads a clock; the feed does. It holds no state of a connection,
so that one adapter serves every connection of its market.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from trio_collector.events import DATA_TYPE_OF, DataType, FeedType, Parsed, Topic


class Subscription(NamedTuple):
    """One feed of one market; `symbol` as the configuration spells it."""

    symbol: str
    feed: FeedType


class SubscribeRequest(NamedTuple):
    """A text to send, and the topics that it asks for; `id` is None where the exchange has no ids."""

    id: str | None
    text: str
    topics: tuple[Topic, ...]


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
    first_request_s: float | None = None  # the first subscribe has to come within


class Adapter(Protocol):
    """One exchange, as its documents describe it."""

    name: str
    limits: Limits
    keepalive: Keepalive | None
    contiguous: frozenset[DataType]  # data types whose ids leave no number out
    sends_acks: bool  # False: silence after a subscribe says nothing
    max_session_s: float | None  # the exchange ends every connection at this age
    alternative_url: str | None  # a base_url that may work where this one is blocked

    def normalize_symbol(self, symbol: str) -> str:
        """Return the name under which rows of `symbol` are kept: lower case, no `-_/`."""
        ...

    def websocket_url(self) -> str:
        """Return the URL to connect to; follows `base_url`."""
        ...

    def build_subscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        """Return what to send for `subscriptions`; ids of requests count up from `first_id`."""
        ...

    def parse_message(self, frame: bytes) -> Parsed:
        """Return what `frame` says: at most one event for each stream.

        Raises UnreadableFrame, and nothing else, whatever the bytes are.
        """
        ...


def topic_of(adapter: Adapter, subscription: Subscription) -> Topic:
    """Return the topic under which acks and events of `subscription` come."""
    return Topic(adapter.normalize_symbol(subscription.symbol), DATA_TYPE_OF[subscription.feed])
