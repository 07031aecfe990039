"""What all adapters do alike, so that the file of an exchange holds only what that exchange does.

An exchange is a subclass of `Exchange`: facts as class attributes, and two methods that read like
its documents.

    _request(op, group, request_id)    the message that subscribes or unsubscribes a group
    _parse(frame)                      what a message says

Splitting into requests, ids, topics, names of rows, the URL, UTF-8 and the one documented error are
here. `adapter.py` is what the feed sees of it.
"""

import abc
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Self

import msgspec

from trio_collector.config.markets import Market, plain_symbol
from trio_collector.errors import UnreadableFrame
from trio_collector.events import (
    DATA_TYPE_OF,
    Control,
    DataType,
    Event,
    FeedType,
    IgnoredMessage,
    Parsed,
    Rejection,
    Topic,
)
from trio_collector.exchanges.adapter import (
    Keepalive,
    Limits,
    SnapshotRequest,
    SubscribeRequest,
    Subscription,
    topic_of,
)
from trio_collector.exchanges.decoding import UNREADABLE, SymbolNames, append_path, require_utf8

Op = Literal["subscribe", "unsubscribe"]
Token = Callable[[], str]

# An unsubscribe has an id that no subscribe has, so that an answer to the one is never taken for an
# answer to the other: `u` and a number, or a number from here on where ids have to be numbers.
UNSUBSCRIBE = "u"
UNSUBSCRIBE_ID = 1_000_000_000


class Exchange(abc.ABC):
    """An adapter without the wire format; its public attributes are those of `Adapter`."""

    name: str
    base_url: str  # where to connect to if the configuration has no `base_url`
    path: str = ""  # follows every base_url
    book_channel: str  # what the exchange calls the two feeds
    trades_channel: str
    has_request_ids: bool = True
    has_numeric_ids: bool = False  # of requests; they are texts otherwise

    limits: Limits
    fields: str  # names of all fields of messages of data, at any depth, that are known
    keepalive: Keepalive | None = None
    contiguous_ids: frozenset[DataType] = frozenset()
    global_ids: frozenset[DataType] = frozenset()
    sends_acks: bool = True
    has_incremental_books: bool = False
    max_session_s: float | None = None
    fallback_url: str | None = None

    def __init__(self, base_url: str | None = None, *, book_channel: str | None = None) -> None:
        self._url = append_path(base_url or self.base_url, self.path)
        self._channels = {
            FeedType.ORDERBOOK: book_channel or self.book_channel,
            FeedType.TRADES: self.trades_channel,
        }
        self._data_types = {each: DATA_TYPE_OF[feed] for feed, each in self._channels.items()}
        self.known_fields = frozenset(self.fields.split())
        self._names = SymbolNames(self._row_name)

    @classmethod
    def from_market(cls, market: Market, token: Token | None) -> Self:
        """Return the adapter for `market`; `token` makes a fresh JWT, where there is a key."""
        return cls(market.base_url)

    @abc.abstractmethod
    def _request(self, op: Op, group: Sequence[Subscription], request_id: str) -> object:
        """Return the message, as what JSON is made of, that subscribes or unsubscribes `group`."""

    @abc.abstractmethod
    def _parse(self, frame: bytes) -> Parsed:
        """Return what `frame`, which is UTF-8, says; raises one of `decoding.UNREADABLE`."""

    def _row_name(self, symbol: str) -> str:
        """Return the name under which rows of `symbol` are kept, which is asked for once."""
        return plain_symbol(symbol)

    def _split(self, subscriptions: Sequence[Subscription]) -> Iterable[Sequence[Subscription]]:
        """Yield what goes into one request each."""
        size = self.limits.topics_per_request or max(1, len(subscriptions))
        for start in range(0, len(subscriptions), size):
            yield subscriptions[start : start + size]

    def normalize_symbol(self, symbol: str) -> str:
        return self._names[symbol]

    def websocket_url(self, line: int = 0) -> str:
        return self._url

    def build_subscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        return [
            self._render("subscribe", group, str(number))._replace(topics=self._topics(group))
            for number, group in enumerate(self._split(subscriptions), first_id)
        ]

    def build_unsubscribe_messages(
        self, subscriptions: Sequence[Subscription], first_id: int = 1
    ) -> list[SubscribeRequest]:
        return [
            self._render("unsubscribe", group, self._unsubscribe_id(number))
            for number, group in enumerate(self._split(subscriptions), first_id)
        ]

    def snapshot_request(self, symbol: str) -> SnapshotRequest | None:
        return None

    def parse_snapshot(self, symbol: str, body: bytes) -> Event:
        raise UnreadableFrame(self.name, f"nobody asked for a book of {symbol!r}", body)

    def parse_message(self, frame: bytes) -> Parsed:
        try:
            if not frame.isascii():
                require_utf8(frame)
            return self._parse(frame)
        except UNREADABLE as exc:
            raise UnreadableFrame(self.name, str(exc), frame) from exc

    def _render(self, op: Op, group: Sequence[Subscription], request_id: str) -> SubscribeRequest:
        text = msgspec.json.encode(self._request(op, group, request_id)).decode()
        return SubscribeRequest(request_id if self.has_request_ids else None, text, ())

    def _topics(self, group: Sequence[Subscription]) -> tuple[Topic, ...]:
        return tuple(topic_of(self, subscription) for subscription in group)

    def _topic(self, channel: str, symbol: str) -> Topic | None:
        """Return what `channel` brings of `symbol`; None for a channel that is not collected."""
        data_type = self._data_types.get(channel)
        return None if data_type is None else Topic(self._names[symbol], data_type)

    def _unsubscribe_id(self, number: int) -> str:
        return str(UNSUBSCRIBE_ID + number) if self.has_numeric_ids else f"{UNSUBSCRIBE}{number}"

    def _is_unsubscribe(self, request_id: int | str | None) -> bool:
        """Return whether an answer with `request_id` is one to an unsubscribe."""
        if self.has_numeric_ids:
            return isinstance(request_id, int) and request_id >= UNSUBSCRIBE_ID
        return isinstance(request_id, str) and request_id.startswith(UNSUBSCRIBE)

    def _refusal(self, request_id: int | str | None, reason: str) -> Control:
        """Return what a refused request means; a refused unsubscribe asks nothing of us."""
        if self._is_unsubscribe(request_id):
            return IgnoredMessage(f"unsubscribe refused, {reason}")
        return Rejection(reason, None if request_id is None else str(request_id))
