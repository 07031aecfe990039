"""What all feeds of the process share, and what the sessions of one leg do."""

import ssl
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import trio

from trio_collector.beginnings import Beginnings
from trio_collector.budget import ByteBudget
from trio_collector.config import WebsocketSection
from trio_collector.events import Batch, Topic
from trio_collector.feed.arbiter import Arbiter
from trio_collector.feed.bases import Bases
from trio_collector.feed.connect import connect_stream
from trio_collector.feed.drift import Drift
from trio_collector.feed.http import Answer, get_answer
from trio_collector.feed.plan import Connection
from trio_collector.feed.rhythm import Rhythm
from trio_collector.feed.venue import Venue
from trio_collector.vitals import Vitals


class FeedContext(msgspec.Struct, frozen=True):
    """What feeds are given when they start."""

    websocket: WebsocketSection
    budget: ByteBudget
    ssl_context: ssl.SSLContext
    venues: Mapping[str, Venue]  # by exchange
    drifts: Mapping[str, Drift]  # likewise
    stop: trio.Event
    now_us: Callable[[], int]
    random: Callable[[], float]  # 0 <= x < 1
    run: int = 0  # names the process in the ledger
    vitals: Vitals = msgspec.field(default_factory=Vitals)
    beginnings: Beginnings = msgspec.field(default_factory=Beginnings)  # of segments
    connect: Callable[[str, ssl.SSLContext], Awaitable[trio.abc.Stream]] = connect_stream
    get: Callable[[str, ssl.SSLContext, int], Awaitable[Answer]] = get_answer


class LegContext(msgspec.Struct, frozen=True):
    """What the sessions of one leg are given; both legs of a connection share the first five."""

    connection: Connection
    feeds: FeedContext
    to_writer: trio.MemorySendChannel[Batch]
    arbiter: Arbiter
    bases: Bases
    rhythms: Mapping[Topic, Rhythm]
    leg: int = 0  # its number
