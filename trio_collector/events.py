"""The words of a frame: what it says, which stream it belongs to, and rows on their way to disk.

A *frame* is one WebSocket message as bytes. An adapter turns it into *events* (one for each stream
that the frame concerns) and *controls* (acks, pongs, notices ...). A *batch* holds the rows of one
stream that came with one read of the socket, as columns.
"""

import enum
from collections.abc import Sequence
from typing import NamedTuple

import msgspec


class FeedType(enum.StrEnum):
    """What a market can be asked for."""

    ORDERBOOK = "orderbook"
    TRADES = "trades"


class DataType(enum.StrEnum):
    """What a row is."""

    ORDERBOOK = "orderbook"
    TRADE = "trade"
    STATUS = "status"
    UNPARSED = "unparsed"


DATA_TYPE_OF = {FeedType.ORDERBOOK: DataType.ORDERBOOK, FeedType.TRADES: DataType.TRADE}


class Topic(NamedTuple):
    """What is subscribed on a connection: a stream without its exchange."""

    symbol: str
    data_type: DataType

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.symbol} {self.data_type}"


class Stream(NamedTuple):
    """Where a row belongs: one exchange, one normalised symbol, one data type."""

    exchange: str
    symbol: str
    data_type: DataType

    @property
    def topic(self) -> Topic:
        """What is subscribed so that the stream comes."""
        return Topic(self.symbol, self.data_type)


class Event(msgspec.Struct, frozen=True, gc=False):
    """What a frame says about one stream.

    `previous_id` and `last_id` express continuity for every exchange in one rule: where
    `previous_id` is known and differs from the stream's latest `last_id`, messages are missing.
    Both are None where nothing can be proven. An event with `is_reset` starts the ids afresh.
    """

    symbol: str  # normalised
    data_type: DataType
    sequence_id: str  # the exchange's id of this message, the last one where it spans several
    exchange_us: int | None  # the exchange's clock; None where it sends none
    previous_id: int | None = None
    last_id: int | None = None
    is_reset: bool = False


class ConnectionSequence(msgspec.Struct, frozen=True, gc=False):
    """The frame's place among all frames of its connection, where the exchange counts them."""

    number: int


class Ack(msgspec.Struct, frozen=True, gc=False):
    """A subscription was granted: to `topics`, or to all of the request `request_id`."""

    request_id: str | None = None
    topics: tuple[Topic, ...] = ()


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A subscription was refused.

    It concerns `topics` where the exchange names them, else the request `request_id`, else
    everything that is still waiting for an ack. `is_whole_request` says that the request's other
    topics fell with the named one and have to be asked for again.
    """

    reason: str
    request_id: str | None = None
    topics: tuple[Topic, ...] = ()
    is_whole_request: bool = False


class Pong(msgspec.Struct, frozen=True, gc=False):
    """The answer to a keepalive message of ours."""


class Echo(msgspec.Struct, frozen=True, gc=False):
    """A text that the exchange wants to be sent back."""

    text: str


class GoingAway(msgspec.Struct, frozen=True, gc=False):
    """The exchange is going to end this connection soon."""

    reason: str


class Heartbeat(msgspec.Struct, frozen=True, gc=False):
    """The connection is alive; says nothing about any stream."""


class IgnoredMessage(msgspec.Struct, frozen=True, gc=False):
    """A control message that asks nothing of us, such as an answer to a question."""

    kind: str


class UnknownMessage(msgspec.Struct, frozen=True, gc=False):
    """A sound message of a kind that is not collected; kept as an `unparsed` row, and reported."""

    kind: str


Control = (
    ConnectionSequence
    | Ack
    | Rejection
    | Pong
    | Echo
    | GoingAway
    | Heartbeat
    | IgnoredMessage
    | UnknownMessage
)
Parsed = Sequence[Event | Control]


# What a row costs in memory beside its frame: the bytes object's head, its ids and list slots.
ROW_OVERHEAD_BYTES = 200


class Batch(msgspec.Struct, gc=False):
    """Rows of one stream that came with one read of the socket; the lists run in parallel."""

    stream: Stream
    received_us: int  # our clock, taken at the socket read
    sequence_ids: list[str] = []
    exchange_us: list[int | None] = []
    frames: list[bytes] = []
    size_bytes: int = 0  # what the rows take of the byte budget

    @property
    def rows(self) -> int:
        return len(self.frames)

    def append(self, sequence_id: str, exchange_us: int | None, frame: bytes) -> None:
        """Add one row."""
        self.sequence_ids.append(sequence_id)
        self.exchange_us.append(exchange_us)
        self.frames.append(frame)
        self.size_bytes += len(frame) + ROW_OVERHEAD_BYTES
