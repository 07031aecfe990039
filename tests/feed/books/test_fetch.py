"""Whole books by HTTP: the right one is a row, whatever else is answered is tried again."""

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import httpx
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.support.scripted_exchange import make_connection
from tests.support.virtual_time import elapsed_s
from trio_collector.events import DataType, Stream
from trio_collector.exchanges.adapter import Adapter, Limits, Rate
from trio_collector.feed.books.fetch import FETCH_S, BookFetcher
from trio_collector.feed.limits.exchange_limits import ExchangeLimits
from trio_collector.feed.planning.connections import ConnectionPlan
from trio_collector.feed.wire.http import HttpResponse
from trio_collector.telemetry import metrics

BOOK = HttpResponse(200, b"", b"reset orderbook btc 9")


class Exchange:
    """An exchange that answers as it is told, and the clock of its day."""

    def __init__(self, *answers: HttpResponse | Exception | None) -> None:
        self.asked: list[tuple[float, str]] = []
        self.limits = Limits(connects=(), topics_per_connection=100, rest_weight=Rate(1000, 60.0))
        self._answers = iter(answers)

    async def get(self, url: str) -> HttpResponse:
        self.asked.append((elapsed_s(), url))
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            await trio.sleep_forever()
        return answer

    def fetcher(self, adapter: Adapter) -> BookFetcher:
        return BookFetcher(
            adapter, ExchangeLimits(self.limits), self.get, lambda: 7, random.Random(0.5)
        )


@pytest.fixture
def connection() -> ConnectionPlan:
    return make_connection("orderbook btc", rest_url="https://exchange.test/book")


async def test_a_book(autojump_clock: MockClock, connection: ConnectionPlan) -> None:
    """The answer is a row of the book's stream, as it came."""
    exchange = Exchange(BOOK)
    (subscription,) = connection.subscriptions
    row = await exchange.fetcher(connection.adapter).fetch(subscription, None)
    assert row.stream == Stream("scripted", "btc", DataType.ORDERBOOK)
    assert (row.sequence_ids, row.frames, row.received_us) == (["9"], [BOOK.body], 7)
    assert [url for _at, url in exchange.asked] == ["https://exchange.test/book/btc"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (HttpResponse(500, b"", b"oops"), "HTTP 500"),
        (HttpResponse(200, b"", b"<html>"), "not a word"),
        (HttpResponse(200, b"", b"reset orderbook btc 4"), "at 4, older than its changes at 5"),
        (httpx.ConnectError("refused"), "refused"),
        (None, f"no answer within {FETCH_S:g} s"),
    ],
)
async def test_what_is_no_use_is_asked_for_again(
    autojump_clock: MockClock, connection: ConnectionPlan, bad: Any, words: str
) -> None:
    """Until the book comes, and no older than the changes: told once, counted every time."""
    failures = metrics.book_failures.labels("scripted")
    before = metrics.total(failures)
    exchange = Exchange(bad, bad, bad, BOOK)
    (subscription,) = connection.subscriptions
    with capture_logs() as entries:
        row = await exchange.fetcher(connection.adapter).fetch(subscription, 5)
    assert row.sequence_ids == ["9"]
    (entry,) = entries
    assert words in entry["error"]
    assert metrics.total(failures) == before + 3
    times = [at for at, _url in exchange.asked]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[0] > 0.7


@pytest.mark.parametrize("status", [418, 429])
async def test_a_ban_is_respected(
    autojump_clock: MockClock, connection: ConnectionPlan, status: int
) -> None:
    """Told to stay away for a while, nobody of this exchange asks or connects before."""
    exchange = Exchange(HttpResponse(status, b"120", b""), BOOK)
    fetcher = exchange.fetcher(connection.adapter)
    (subscription,) = connection.subscriptions
    await fetcher.fetch(subscription, None)
    assert exchange.asked[1][0] >= 120


async def test_many_books_keep_to_the_weight(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """All feeds of an exchange together stay below what it allows for requests."""
    exchange = Exchange(*[BOOK] * 100)
    exchange.limits = Limits(connects=(), topics_per_connection=1, rest_weight=Rate(5, 60.0))
    connection = make_connection("orderbook btc", rest_url="https://exchange.test/book")
    fetcher = exchange.fetcher(connection.adapter)
    (subscription,) = connection.subscriptions
    async with trio.open_nursery() as fetches:
        for _ in range(20):
            fetches.start_soon(fetcher.fetch, subscription, None)
    assert most_within(60.0, [at for at, _url in exchange.asked]) <= 5
    assert len(exchange.asked) == 20


def most_within(seconds: float, times: Sequence[float]) -> int:
    """Return how many of `times` lie within any `seconds`, at most."""
    return max(sum(start <= at < start + seconds for at in times) for start in times)
