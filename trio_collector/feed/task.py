"""A feed: a connection kept alive, on one line or on two side by side, until the collector stops."""

import itertools
from functools import partial

import trio

from trio_collector.events import Batch, DataType, Topic
from trio_collector.feed.books.snapshots import BookSnapshots
from trio_collector.feed.context import FeedContext, LineContext
from trio_collector.feed.continuity.arbitration import LineArbiter
from trio_collector.feed.line import Line
from trio_collector.feed.planning.connections import ConnectionPlan
from trio_collector.feed.session import Session
from trio_collector.telemetry import metrics


async def run_feed(
    connection: ConnectionPlan, context: FeedContext, to_writer: trio.MemorySendChannel[Batch]
) -> None:
    """Keep `connection` alive until `context.stop` is set; closes `to_writer`.

    When `stop` is set, rows that were read are still sent, then the task ends by itself.
    """
    async with to_writer:
        await Feed(connection, context, to_writer).run()


class Feed:
    """The lines of one connection, and what their sessions share."""

    def __init__(
        self,
        connection: ConnectionPlan,
        context: FeedContext,
        to_writer: trio.MemorySendChannel[Batch],
    ) -> None:
        self._connection = connection
        self._context = context
        self._snapshots = BookSnapshots()
        self._numbers = itertools.count(1)
        adapter = connection.adapter
        arbiter = LineArbiter(adapter.global_ids, adapter.contiguous_ids, trio.current_time)
        given = [
            LineContext(
                connection=connection,
                feeds=context,
                to_writer=to_writer,
                arbiter=arbiter,
                snapshots=self._snapshots,
                # Of each line its own: two that judge one silence would take it for two.
                timeouts=connection.open_timeouts(),
                line=line,
            )
            for line in range(connection.lines)
        ]
        self._lines = [Line(each, partial(self._new_session, each)) for each in given]

    async def run(self) -> None:
        """Run the lines until the collector stops."""
        connection, segment_starts = self._connection, self._context.segment_starts
        if connection.adapter.has_incremental_books and self._context.websocket.whole_books:
            for stream in connection.streams:
                if stream.data_type is DataType.ORDERBOOK:
                    segment_starts.listen(stream, partial(self._begin_segment, stream.topic))
        async with trio.open_nursery() as nursery:
            for line, name in zip(self._lines, connection.names, strict=True):
                nursery.start_soon(line.run, name=name)

    def _new_session(self, given: LineContext, topics: list[Topic]) -> Session:
        number = next(self._numbers)
        if number > len(self._lines):
            for symbol in {topic.symbol for topic in topics}:
                metrics.websocket_reconnects.labels(given.connection.adapter.name, symbol).inc()
        return Session(given, number=number, topics=topics)

    def _begin_segment(self, topic: Topic, first_us: int) -> None:
        """See to it that a segment which began at `first_us` can be read without the one before."""
        if not self._snapshots.has(topic, since_us=first_us):
            self._lines[0].refresh(topic)
