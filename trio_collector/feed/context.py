"""What all feeds of the process share, and what the sessions of one line do."""

import ssl
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import trio

from trio_collector.budget import ByteBudget
from trio_collector.config.settings import WebsocketSection
from trio_collector.events import Batch, Topic
from trio_collector.feed.books.segment_starts import SegmentStarts
from trio_collector.feed.books.snapshots import BookSnapshots
from trio_collector.feed.continuity.arbitration import LineArbiter
from trio_collector.feed.drift import Drift
from trio_collector.feed.health.adaptive_timeout import AdaptiveTimeout
from trio_collector.feed.limits.exchange_limits import ExchangeLimits
from trio_collector.feed.planning.connections import ConnectionPlan
from trio_collector.feed.wire.connect import connect_stream
from trio_collector.feed.wire.http import HttpResponse, http_get
from trio_collector.telemetry.live_state import LiveState


class FeedContext(msgspec.Struct, frozen=True):
    """What feeds are given when they start."""

    websocket: WebsocketSection
    budget: ByteBudget
    ssl_context: ssl.SSLContext
    exchange_limits: Mapping[str, ExchangeLimits]  # by exchange
    drifts: Mapping[str, Drift]  # likewise
    stop: trio.Event
    now_us: Callable[[], int]
    random: Callable[[], float]  # 0 <= x < 1
    run: int = 0  # names the process in the ledger
    live: LiveState = msgspec.field(default_factory=LiveState)
    segment_starts: SegmentStarts = msgspec.field(default_factory=SegmentStarts)  # of segments
    connect: Callable[[str, ssl.SSLContext], Awaitable[trio.abc.Stream]] = connect_stream
    get: Callable[[str, ssl.SSLContext, int], Awaitable[HttpResponse]] = http_get

    async def connect_to(self, url: str) -> trio.abc.Stream:
        """Return a stream to the host of `url`; the deadline is the caller's; raises as `connect`."""
        return await self.connect(url, self.ssl_context)

    async def http_get(self, url: str) -> HttpResponse:
        """Return what GET `url` brings, of at most `max_message_bytes`; raises as `get` does."""
        return await self.get(url, self.ssl_context, self.websocket.max_message_bytes)


class LineContext(msgspec.Struct, frozen=True):
    """What the sessions of one line are given; the lines of a connection share the first five."""

    connection: ConnectionPlan
    feeds: FeedContext
    to_writer: trio.MemorySendChannel[Batch]
    arbiter: LineArbiter
    snapshots: BookSnapshots
    timeouts: Mapping[Topic, AdaptiveTimeout]
    line: int = 0  # its number
