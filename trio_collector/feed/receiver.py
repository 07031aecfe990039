"""What a session reads, on its way to the writer: the one task of it that parses.

    reads ─▶ reader (frames to rows) ─▶ standing (what they mean) ─▶ outflow (to the writer)

Rows are sent in the order in which their frames came. After a bug the frames that were not read are
kept as they came, for the next version to read.
"""

import contextlib
from collections.abc import Awaitable, Callable

import trio

from trio_collector.errors import SessionEnded
from trio_collector.events import Batch, Topic
from trio_collector.exchanges.adapter import SubscribeRequest
from trio_collector.feed.context import LineContext
from trio_collector.feed.decoder import Decoded, FrameDecoder
from trio_collector.feed.monitor import SessionMonitor
from trio_collector.feed.sender import BatchSender
from trio_collector.feed.session_log import SessionLog
from trio_collector.feed.wire.transport import Read

# Reads between the socket and the parser; the byte budget does not count them.
READS_WAITING = 16


class Receiver:
    """The rows of one session; `heed` is given what is to be sent, after each read was judged."""

    def __init__(
        self,
        given: LineContext,
        ledger: SessionLog,
        *,
        topics: list[Topic],
        heed: Callable[[list[SubscribeRequest]], None],
    ) -> None:
        adapter = given.connection.adapter
        self.ledger = ledger
        self.source = given.arbiter.open_input(self.nudge)
        self.monitor = SessionMonitor(
            given.connection,
            topics,
            ledger,
            self.source,
            given.snapshots,
            given.timeouts,
            given.feeds.drifts[adapter.name],
            trio.current_time(),
        )
        self.sender = BatchSender(given.to_writer, given.feeds.budget, self.monitor.pause)
        self.frames_to, self._reads = trio.open_memory_channel[Read](READS_WAITING)
        self._now_us = given.feeds.now_us
        self._snapshots = given.snapshots
        self._topics = topics
        self._heed = heed
        self._reader = FrameDecoder(adapter, list(given.connection.topics), self.source)
        self._books: list[tuple[Topic, Batch]] = []  # that were fetched
        self._unread: Read | None = None

    def enter(self) -> None:
        """Take part: from here on data may come."""
        self.source.enter(self._topics)

    def add_book(self, topic: Topic, row: Batch) -> None:
        """Let the whole book of `topic`, which was fetched, be a row."""
        self._books.append((topic, row))
        self.nudge()

    def nudge(self) -> None:
        """Let the task look at what there is to send, though nothing was read."""
        gone = (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError)
        with contextlib.suppress(*gone):  # full: it is about to look; closed: it has looked last
            self.frames_to.send_nowait(Read(self._now_us(), []))

    async def run(self, guard: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]) -> None:
        """Send what is read to the writer, until nothing more can come.

        What fails while reading goes to `guard`. Cancelling loses what is not yet sent.
        """
        async with self._reads:
            await guard(self._read_all)
            if self._unread is not None:
                await self._pass_on(self._reader.keep(*self._unread))
            async for received in self._reads:
                await self._pass_on(self._reader.keep(*received))

    async def _read_all(self) -> None:
        async for received in self._reads:
            self._unread = received
            rows = self._judge(received)
            self._unread = None
            await self._pass_on(rows)

    def _judge(self, received: Read) -> Decoded:
        rows = self._reader.read(*received)
        self._heed(self.monitor.notice(rows, received.received_us, trio.current_time()))
        return rows

    async def _pass_on(self, rows: Decoded) -> None:
        batches = [batch for batch in (*self._take_books(), *rows.batches) if batch.frames]
        await self.sender.send([*self.ledger.take(), *batches])
        self.ledger.delivered(batches)
        self.ledger.repeated(self._reader.take_repeated())

    def _take_books(self) -> list[Batch]:
        books, self._books = self._books, []
        for topic, row in books:
            self.monitor.resync.note(topic, row.received_us)
        return [row for _topic, row in books]

    def leave(self) -> None:
        """Take part no more: another session may go on."""
        if self.source.leave():
            self._snapshots.lose_all()

    async def finish(
        self, ending: SessionEnded, *, at_us: int | None, latest_us: int | None
    ) -> None:
        """Send what was held back for this session's sake, and what the ledger says of its end."""
        rows = self._judge(Read(self._now_us(), []))
        self.ledger.ended(ending, self.monitor.wanted, at_us=at_us, latest_us=latest_us)
        await self._pass_on(rows)
