"""A feed: a connection kept alive, on one leg or on two side by side, until the collector stops."""

import itertools
from functools import partial

import trio

from trio_collector import metrics
from trio_collector.events import Batch, DataType, Stream, Topic
from trio_collector.feed.arbiter import Arbiter
from trio_collector.feed.bases import Bases
from trio_collector.feed.context import FeedContext
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
        self._to_writer = to_writer
        adapter = connection.adapter
        self._arbiter = Arbiter(adapter.same_ids, adapter.contiguous, trio.current_time)
        self._bases = Bases()
        self._numbers = itertools.count(1)
        # Of each leg its own: two that judge one silence would take it for two.
        self._rhythms = [connection.open_rhythms() for _leg in range(connection.legs)]
        self._legs = [
            Leg(connection, context, partial(self._new_session, leg))
            for leg in range(connection.legs)
        ]

    async def run(self) -> None:
        """Run the legs until the collector stops."""
        adapter = self._connection.adapter
        if adapter.has_delta_books and self._context.websocket.whole_books:
            for topic in self._connection.topics:
                if topic.data_type is DataType.ORDERBOOK:
                    stream = Stream(adapter.name, *topic)
                    self._context.beginnings.listen(stream, partial(self._begin_segment, topic))
        async with trio.open_nursery() as nursery:
            for leg in self._legs:
                nursery.start_soon(leg.run)

    def _new_session(self, leg: int, topics: list[Topic]) -> Session:
        number = next(self._numbers)
        if number > len(self._legs):
            for symbol in {topic.symbol for topic in topics}:
                metrics.websocket_reconnects.labels(self._connection.adapter.name, symbol).inc()
        return Session(
            self._connection,
            self._context,
            self._to_writer,
            self._arbiter,
            self._bases,
            self._rhythms[leg],
            number=number,
            topics=topics,
            leg=leg,
        )

    def _begin_segment(self, topic: Topic, first_us: int) -> None:
        """See to it that a segment which began at `first_us` can be read without the one before."""
        if not self._bases.has(topic, since_us=first_us):
            self._legs[0].refresh(topic)
