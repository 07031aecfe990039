"""What a session's monitor wants done: it decides, the session does.

Requests and ends change what the session does next; the others are told to the ledger, the metrics
and the log, by `session_log`. `at_us` is the wall clock in microseconds, of the read that showed it.
"""

from typing import NamedTuple

from trio_collector.errors import SessionEnded
from trio_collector.events import Topic
from trio_collector.exchanges.adapter import SubscribeRequest
from trio_collector.feed.continuity.sequence import SequenceFinding
from trio_collector.feed.health.staleness import StaleTopic


class Send(NamedTuple):
    """Send a request to the exchange, when its turn comes."""

    request: SubscribeRequest


class Fetch(NamedTuple):
    """Fetch the whole book of `topic` by HTTP, until it is there."""

    topic: Topic


class HandOver(NamedTuple):
    """Ask for a successor: the session's end is known ahead."""


class End(NamedTuple):
    """End the session."""

    ending: SessionEnded


class Subscribed(NamedTuple):
    """The exchange granted `topics`, or was asked for them where it does not answer."""

    topics: list[Topic]
    at_us: int | None  # None: now


class Live(NamedTuple):
    """The first data of `topic` in this session has come."""

    topic: Topic
    at_us: int


class Rejected(NamedTuple):
    """The exchange refused `topics`, or something else where that is empty."""

    topics: list[Topic]
    reason: str
    at_us: int


class Stale(NamedTuple):
    """A topic had no data for longer than it may."""

    stale: StaleTopic


class Found(NamedTuple):
    """The ids show that messages of `topics` are missing, or came twice."""

    finding: SequenceFinding
    topics: list[Topic]
    at_us: int


class Unreadable(NamedTuple):
    """No adapter could read so many frames."""

    frames: int


class Broken(NamedTuple):
    """The circuit breaker ends the session for `topics`."""

    topics: list[Topic]
    at_us: int


class TimedOut(NamedTuple):
    """Silence is why the session leaves."""


class PongReceived(NamedTuple):
    """The exchange answered a keepalive message."""


Record = (
    Subscribed | Live | Rejected | Stale | Found | Unreadable | Broken | TimedOut | PongReceived
)
Action = Send | Fetch | HandOver | End | Record
