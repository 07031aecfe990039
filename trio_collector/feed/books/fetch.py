"""Whole books by HTTP, for exchanges whose WebSocket sends changes only.

The response is a row of the book's stream, as the exchange sent it. A reader joins it with the
changes by the exchange's rule. Binance's is: skip the changes up to `lastUpdateId`, and go on with
the first one that covers the next id. A response older than the changes that were received is
therefore useless, and is requested again.
https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md
"""

import random
from collections.abc import Awaitable, Callable

import httpx
import structlog
import trio

from trio_collector.backoff import Backoff
from trio_collector.errors import UnreadableFrame
from trio_collector.events import Batch, Stream
from trio_collector.exchanges.adapter import Adapter, Subscription
from trio_collector.feed.limits.exchange_limits import ExchangeLimits
from trio_collector.feed.wire.end_reason import BANNED, parse_retry_after
from trio_collector.feed.wire.http import HttpResponse
from trio_collector.telemetry import metrics

log = structlog.get_logger(__name__)

FETCH_S = 20.0  # 5000 levels are 400 kB
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 60.0


class _Unfit(Exception):
    """A response that cannot be used; `wait_s` is what the exchange asked to wait, 0 if nothing."""

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class BookFetcher:
    """Fetches books of one exchange; `get` fetches a URL, `now_us` is the wall clock."""

    def __init__(
        self,
        adapter: Adapter,
        limits: ExchangeLimits,
        get: Callable[[str], Awaitable[HttpResponse]],
        now_us: Callable[[], int],
        rng: random.Random,
    ) -> None:
        self._adapter = adapter
        self._limits = limits
        self._get = get
        self._now_us = now_us
        self._rng = rng

    async def fetch(self, subscription: Subscription, reached: int | None) -> Batch:
        """Return the whole book of `subscription` as a row, no older than the id `reached`.

        Tries until it succeeds, at the rate that the exchange allows. Cancelling leaves nothing
        behind.
        """
        backoff = Backoff(FIRST_DELAY_S, LONGEST_DELAY_S, self._rng)
        bound_log = log.bind(exchange=self._adapter.name, symbol=subscription.symbol)
        is_logged = False
        while True:
            try:
                return await self._fetch_once(subscription, reached)
            except (httpx.HTTPError, trio.TooSlowError, UnreadableFrame, _Unfit) as exc:
                metrics.book_failures.labels(self._adapter.name).inc()
                if not is_logged:
                    bound_log.warning(
                        "whole book not fetched, will be tried again", error=_words(exc)
                    )
                    is_logged = True
                wait_s = exc.wait_s if isinstance(exc, _Unfit) else 0.0
                await trio.sleep(backoff.next_delay(wait_s))

    async def _fetch_once(self, subscription: Subscription, reached: int | None) -> Batch:
        request = self._adapter.snapshot_request(subscription.symbol)
        assert request is not None, "this exchange sends whole books over its WebSocket"
        await self._limits.wait_to_fetch(request.weight)
        with trio.fail_after(FETCH_S):
            response = await self._get(request.url)
        at_us = self._now_us()
        if response.status != 200:
            raise self._refusal(response, request.url, at_us)
        event = self._adapter.parse_snapshot(subscription.symbol, response.body)
        if reached is not None and event.last_id is not None and event.last_id < reached:
            raise _Unfit(f"the book is at {event.last_id}, older than its changes at {reached}")
        row = Batch(Stream(self._adapter.name, event.symbol, event.data_type), at_us)
        row.append(event.sequence_id, event.exchange_us, response.body)
        return row

    def _refusal(self, response: HttpResponse, url: str, at_us: int) -> "_Unfit":
        """Return what a refused request means; a ban applies to all feeds."""
        wait_s = parse_retry_after(response.retry_after, at_us / 1e6)
        if response.status in BANNED:
            self._limits.ban(wait_s)
        return _Unfit(f"HTTP {response.status} from {url}", wait_s or 0.0)


def _words(exc: Exception) -> str:
    if isinstance(exc, trio.TooSlowError):
        return f"no answer within {FETCH_S:g} s"
    return str(exc) or type(exc).__name__
