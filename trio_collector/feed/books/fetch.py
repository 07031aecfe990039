"""Whole books by HTTP, for exchanges whose WebSocket brings changes alone.

The answer is a row of the book's stream, as the exchange sent it. A reader joins it with the
changes by the exchange's rule, which for Binance reads: leave out changes up to `lastUpdateId`, and
go on with the first one that holds the id behind it. So an answer that is older than the changes we
have is of no use, and is asked for again.
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
    """An answer that is not the book that is needed; `wait_s` is what the exchange asks for."""

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class BookFetcher:
    """Fetches books of one exchange; `get` asks for a URL, `now_us` is the wall clock."""

    def __init__(
        self,
        adapter: Adapter,
        limits: ExchangeLimits,
        get: Callable[[str], Awaitable[HttpResponse]],
        now_us: Callable[[], int],
        dice: random.Random,
    ) -> None:
        self._adapter = adapter
        self._limits = limits
        self._get = get
        self._now_us = now_us
        self._dice = dice

    async def fetch(self, subscription: Subscription, reached: int | None) -> Batch:
        """Return the whole book of `subscription` as a row, no older than the id `reached`.

        Tries until it has it, at the rate that the exchange allows. Cancelling leaves nothing
        behind.
        """
        backoff = Backoff(FIRST_DELAY_S, LONGEST_DELAY_S, self._dice)
        told = log.bind(exchange=self._adapter.name, symbol=subscription.symbol)
        is_told = False
        while True:
            try:
                return await self._fetch_once(subscription, reached)
            except (httpx.HTTPError, trio.TooSlowError, UnreadableFrame, _Unfit) as exc:
                metrics.book_failures.labels(self._adapter.name).inc()
                if not is_told:
                    told.warning("whole book not fetched, will be tried again", error=_words(exc))
                    is_told = True
                wait_s = exc.wait_s if isinstance(exc, _Unfit) else 0.0
                await trio.sleep(backoff.next_delay(wait_s))

    async def _fetch_once(self, subscription: Subscription, reached: int | None) -> Batch:
        request = self._adapter.snapshot_request(subscription.symbol)
        assert request is not None, "the exchange sends whole books by itself"
        await self._limits.rest_turn(request.weight)
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
        """Return what a refusal means; a ban holds for everybody."""
        wait_s = parse_retry_after(response.retry_after, at_us / 1e6)
        if response.status in BANNED:
            self._limits.ban(wait_s)
        return _Unfit(f"HTTP {response.status} from {url}", wait_s or 0.0)


def _words(exc: Exception) -> str:
    if isinstance(exc, trio.TooSlowError):
        return f"no answer within {FETCH_S:g} s"
    return str(exc) or type(exc).__name__
