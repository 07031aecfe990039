"""Whole books by HTTP, for exchanges whose WebSocket brings changes alone.

The answer is a row of the book's stream, as the exchange sent it. A reader joins it with the
changes by the exchange's rule, which for Binance reads: leave out changes up to `lastUpdateId`, and
go on with the first one that holds the id behind it. So an answer that is older than the changes we
have is of no use, and is asked for again.
https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md
"""

import random

import httpx
import structlog
import trio

from trio_collector.backoff import Backoff
from trio_collector.errors import UnreadableFrame
from trio_collector.events import Batch, Stream
from trio_collector.exchanges.adapter import Adapter, Subscription
from trio_collector.feed.context import FeedContext
from trio_collector.feed.wire.end_reason import BANNED, parse_retry_after
from trio_collector.telemetry import metrics

log = structlog.get_logger(__name__)

FETCH_S = 20.0  # 5000 levels are 400 kB
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 60.0


class _Unfit(Exception):
    """An answer that is not the book that is needed; `wait_s` is what the exchange asks for."""

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


async def fetch_book(
    context: FeedContext, adapter: Adapter, subscription: Subscription, reached: int | None
) -> Batch:
    """Return the whole book of `subscription` as a row, no older than the id `reached`.

    Tries until it has it, at the pace that the venue allows. Cancelling leaves nothing behind.
    """
    backoff = Backoff(FIRST_DELAY_S, LONGEST_DELAY_S, random.Random(context.random()))
    told = log.bind(exchange=adapter.name, symbol=subscription.symbol)
    is_told = False
    while True:
        try:
            return await _fetch_once(context, adapter, subscription, reached)
        except (httpx.HTTPError, trio.TooSlowError, UnreadableFrame, _Unfit) as exc:
            metrics.book_failures.labels(adapter.name).inc()
            if not is_told:
                told.warning("whole book not fetched, will be tried again", error=_words(exc))
                is_told = True
            wait_s = exc.wait_s if isinstance(exc, _Unfit) else 0.0
            await trio.sleep(backoff.next_delay(wait_s))


async def _fetch_once(
    context: FeedContext, adapter: Adapter, subscription: Subscription, reached: int | None
) -> Batch:
    request = adapter.snapshot_request(subscription.symbol)
    assert request is not None, "the exchange sends whole books by itself"
    exchange_limits = context.exchange_limits[adapter.name]
    await exchange_limits.rest_turn(request.weight)
    with trio.fail_after(FETCH_S):
        answer = await context.get(
            request.url, context.ssl_context, context.websocket.max_message_bytes
        )
    at_us = context.now_us()
    if answer.status != 200:
        wait_s = parse_retry_after(answer.retry_after, at_us / 1e6)
        if answer.status in BANNED:
            exchange_limits.ban(wait_s)
        raise _Unfit(f"HTTP {answer.status} from {request.url}", wait_s or 0.0)
    event = adapter.parse_snapshot(subscription.symbol, answer.body)
    if reached is not None and event.last_id is not None and event.last_id < reached:
        raise _Unfit(f"the book is at {event.last_id}, older than its changes at {reached}")
    row = Batch(Stream(adapter.name, event.symbol, event.data_type), at_us)
    row.append(event.sequence_id, event.exchange_us, answer.body)
    return row


def _words(exc: Exception) -> str:
    if isinstance(exc, trio.TooSlowError):
        return f"no answer within {FETCH_S:g} s"
    return str(exc) or type(exc).__name__
