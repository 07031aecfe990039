"""A feed: a connection kept alive, on one leg or on two side by side, until the collector stops."""

import itertools
from functools import partial

import trio

from trio_collector import metrics
from trio_collector.events import Batch, DataType, Topic
from trio_collector.feed.arbiter import Arbiter
from trio_collector.feed.bases import Bases
from trio_collector.feed.context import FeedContext, LegContext
from trio_collector.feed.leg import Leg
from trio_collector.feed.plan import Connection
from trio_collector.feed.session import Session


async def run_feed(
    connection: Connection, context: FeedContext, to_writer: trio.MemorySendChannel[Batch]
) -> None:
    """Keep `connection` alive until `context.stop` is set; closes `to_writer`.

    When `stop` is set, rows that were read are still sent, then the task ends by itself.
    """
    async with to_writer:
        await Feed(connection, context, to_writer).run()


class Feed:
    """The legs of one connection, and what their sessions share."""

    def __init__(
        self,
        connection: Connection,
        context: FeedContext,
        to_writer: trio.MemorySendChannel[Batch],
    ) -> None:
        self._connection = connection
        self._context = context
        adapter = connection.adapter
        self._bases = Bases()
        self._numbers = itertools.count(1)
        arbiter = Arbiter(adapter.same_ids, adapter.contiguous, trio.current_time)
        given = [
            LegContext(
                connection=connection,
                feeds=context,
                to_writer=to_writer,
                arbiter=arbiter,
                bases=self._bases,
                # Of each leg its own: two that judge one silence would take it for two.
                rhythms=connection.open_rhythms(),
                leg=leg,
            )
            for leg in range(connection.legs)
        ]
        self._legs = [Leg(each, partial(self._new_session, each)) for each in given]

    async def run(self) -> None:
        """Run the legs until the collector stops."""
        connection, beginnings = self._connection, self._context.beginnings
        if connection.adapter.has_delta_books and self._context.websocket.whole_books:
            for stream in connection.streams:
                if stream.data_type is DataType.ORDERBOOK:
                    beginnings.listen(stream, partial(self._begin_segment, stream.topic))
        async with trio.open_nursery() as nursery:
            for leg in self._legs:
                nursery.start_soon(leg.run)

    def _new_session(self, given: LegContext, topics: list[Topic]) -> Session:
        number = next(self._numbers)
        if number > len(self._legs):
            for symbol in {topic.symbol for topic in topics}:
                metrics.websocket_reconnects.labels(given.connection.adapter.name, symbol).inc()
        return Session(given, number=number, topics=topics)

    def _begin_segment(self, topic: Topic, first_us: int) -> None:
        """See to it that a segment which began at `first_us` can be read without the one before."""
        if not self._bases.has(topic, since_us=first_us):
            self._legs[0].refresh(topic)
