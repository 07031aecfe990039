"""The real exchanges, over the internet: `pytest -m live -rs`.

An exchange that cannot be reached from here (no network, a country that it does not serve, its
maintenance) is skipped, and the reason says so in words. Everything else that goes wrong fails: then
the exchange has changed, or the adapter was wrong from the start.
"""

import random
import ssl

import pytest
import trio

from trio_collector import clock
from trio_collector.budget import ByteBudget
from trio_collector.config.markets import ExchangeName, Market
from trio_collector.config.settings import WebsocketSection
from trio_collector.errors import SessionEnded
from trio_collector.events import DATA_TYPE_OF, Batch, DataType, FeedType
from trio_collector.exchanges import create_adapter
from trio_collector.feed.books.snapshots import BookSnapshots
from trio_collector.feed.context import FeedContext, LineContext
from trio_collector.feed.continuity.arbitration import LineArbiter
from trio_collector.feed.drift import Drift
from trio_collector.feed.limits.exchange_limits import ExchangeLimits
from trio_collector.feed.planning.connections import ConnectionPlan, plan_connections
from trio_collector.feed.session import Session
from trio_collector.feed.wire.end_reason import EndReason

MESSAGES = 10
WITHIN_S = 60.0

# The busiest market of each.
SYMBOLS: dict[ExchangeName, str] = {
    "binance": "BTCUSDT",
    "coinbase": "BTC-USD",
    "upbit": "KRW-BTC",
    "okx": "BTC-USDT",
    "bybit": "BTCUSDT",
}

# Statuses that say "not from here" or "not now"; others, 404 first of all, would be our mistake.
REFUSALS = frozenset({403, 418, 429, 451, 500, 502, 503, 504})


class Visit:
    """One session with an exchange, and what came of it."""

    def __init__(self, connection: ConnectionPlan) -> None:
        self.frames: list[bytes] = []
        self.unparsed: list[bytes] = []
        self.ending: SessionEnded | None = None
        self._connection = connection
        self._stop = trio.Event()
        self._budget = ByteBudget(1 << 28)

    async def run(self) -> None:
        """Stay until enough data messages have come, time is up, or the session ends."""
        to_writer, batches = trio.open_memory_channel[Batch](100)
        connection, adapter = self._connection, self._connection.adapter
        given = LineContext(
            connection=connection,
            feeds=self._context(),
            to_writer=to_writer,
            arbiter=LineArbiter(adapter.global_ids, adapter.contiguous_ids, trio.current_time),
            snapshots=BookSnapshots(),
            timeouts=connection.open_timeouts(),
        )
        session = Session(given, number=1, topics=list(connection.topics))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, batches)
            async with to_writer:
                self.ending = await session.run()

    def _context(self) -> FeedContext:
        adapter = self._connection.adapter
        return FeedContext(
            websocket=WebsocketSection(),
            budget=self._budget,
            ssl_context=ssl.create_default_context(),
            exchange_limits={adapter.name: ExchangeLimits(adapter.limits)},
            drifts={adapter.name: Drift(adapter, trio.current_time())},
            stop=self._stop,
            now_us=clock.now_us,
            random=random.random,
        )

    async def _read(self, batches: trio.MemoryReceiveChannel[Batch]) -> None:
        with trio.move_on_after(WITHIN_S):
            while len(self.frames) < MESSAGES:
                try:
                    self._take(await batches.receive())
                except trio.EndOfChannel:
                    return
        self._stop.set()
        async for batch in batches:
            self._take(batch)

    def _take(self, batch: Batch) -> None:
        self._budget.release(batch.size_bytes)
        if batch.stream.data_type is DataType.UNPARSED:
            self.unparsed += batch.frames
        elif batch.stream.data_type is not DataType.STATUS:
            assert batch.stream in self._connection.streams
            self.frames += batch.frames


def is_out_of_reach(ending: SessionEnded) -> bool:
    """Return whether the session ended before the exchange had anything to do with it."""
    if ending.reason == EndReason.REJECTED_HANDSHAKE:
        return ending.code in REFUSALS
    return ending.reason in (EndReason.CONNECT_FAILED, EndReason.TLS_ERROR)


async def _visit(connection: ConnectionPlan) -> Visit:
    visit = Visit(connection)
    await visit.run()
    return visit


@pytest.mark.live
@pytest.mark.parametrize("feed", FeedType)
@pytest.mark.parametrize("exchange", SYMBOLS)
def test_ten_messages(exchange: ExchangeName, feed: FeedType) -> None:
    """The exchange grants the subscription, and ten data messages of the feed are read."""
    market = Market(exchange=exchange, symbols=(SYMBOLS[exchange],), feeds=(feed,))
    adapter = create_adapter(market)
    (connection,) = plan_connections([(market, adapter)], WebsocketSection())
    # Not an async test: pytest-trio 0.8 would lose the reason of the skip.
    visit = trio.run(_visit, connection)
    ending = visit.ending
    assert ending is not None
    if is_out_of_reach(ending):
        pytest.skip(f"{exchange} cannot be reached at {adapter.websocket_url()}: {ending}")
    assert ending.reason == EndReason.STOPPED, str(ending)
    what = f"{DATA_TYPE_OF[feed]} messages within {WITHIN_S:g} s"
    assert len(visit.frames) >= MESSAGES, f"only {len(visit.frames)} {what}"
    assert visit.unparsed == []
