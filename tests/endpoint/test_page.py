"""The status page in a real browser: it shows the collector, and keeps up with it."""

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from trio_collector import clock
from trio_collector.config.settings import CollectorSection, StorageSection
from trio_collector.endpoint.task import run_endpoint
from trio_collector.events import Batch, DataType, Stream
from trio_collector.ledger import LedgerEvent
from trio_collector.telemetry.live_state import LiveState

pytestmark = pytest.mark.slow  # a browser is a real process

Serve = Callable[..., Awaitable[int]]

STREAMS = [
    Stream(exchange, symbol, data_type)
    for exchange, symbol in (("binance", "btcusdt"), ("okx", "<b>x</b>"))
    for data_type in (DataType.TRADE, DataType.ORDERBOOK)
]
SHOWN = "Number(document.body.dataset.shown)"


@pytest.fixture
def busy(
    nursery: trio.Nursery,
    planned: Callable[..., Any],
    make_live: Callable[..., LiveState],
    new_batch: Callable[..., Batch],
) -> LiveState:
    """The state of four streams to which rows come all the time."""
    live = LiveState()
    live.start([planned(stream) for stream in STREAMS], clock.now_us())
    make_live(live, clock.now_us())

    async def feed() -> None:
        for number in itertools.count():
            stream = STREAMS[number % len(STREAMS)]
            if live.streams[stream].state == "live":
                live.received(new_batch(stream, 3, clock.now_us()))
            await trio.sleep(0.05)

    nursery.start_soon(feed)
    return live


async def test_it_shows_and_follows(serve: Serve, busy: LiveState, tab: Any) -> None:
    """All streams are there, numbers move, nothing is loaded from elsewhere, nothing fails."""
    url = f"http://127.0.0.1:{await serve(busy)}/"
    await tab.open(url)
    await tab.wait_for(f"{SHOWN} >= 1")
    assert await tab.text_of("#status") == "healthy"
    assert await tab.evaluate("document.querySelectorAll('#rows tr').length") == len(STREAMS)
    before = await tab.text_of("#rows tr td:last-child")
    shown = await tab.evaluate(SHOWN)
    await tab.wait_for(f"{SHOWN} >= {shown + 2}")
    assert await tab.text_of("#rows tr td:last-child") != before
    assert await tab.evaluate("document.querySelector('#rate-spark .line').getAttribute('d')")
    assert await tab.text_of("#link-text") == "live"
    assert tab.errors == []
    assert set(tab.requests) == {url, f"{url}events"}


async def test_trouble_comes_first(serve: Serve, busy: LiveState, tab: Any) -> None:
    """A stream that is down is on top, in words; names are shown as text, never as markup."""
    strange = STREAMS[-1]
    name = busy.streams[strange].connection
    busy.ended(name, 1, clock.now_us(), reason="tls_error", detail="certificate has expired")
    busy.noted(STREAMS[0], LedgerEvent.GAP, clock.now_us(), {"expected": 1, "got": 3, "missing": 2})
    await tab.open(f"http://127.0.0.1:{await serve(busy)}/")
    await tab.wait_for(f"{SHOWN} >= 1")
    assert await tab.text_of("#status") == "degraded"
    assert "messages were missing: binance btcusdt trade" in await tab.text_of("#reasons")
    first = await tab.text_of("#rows tr")
    assert "down" in first
    assert "<b>x</b>" in first
    assert "tls_error: certificate has expired" in first
    assert "gap" in await tab.text_of("#events")
    assert "expected 1, got 3, 2 missing" in await tab.text_of("#events")
    assert tab.errors == []


async def test_exchanges_and_connections(serve: Serve, busy: LiveState, tab: Any) -> None:
    """Each exchange has a card with the sum of its streams, each connection a row with its reason."""
    down = busy.streams[STREAMS[-1]].connection
    busy.ended(down, 1, clock.now_us(), reason="tls_error", detail="certificate has expired")
    await tab.open(f"http://127.0.0.1:{await serve(busy)}/")
    await tab.wait_for(f"{SHOWN} >= 3")
    cards = await tab.evaluate(
        "[...document.querySelectorAll('.exchange')].map((e) => [e.dataset.level, e.textContent])"
    )
    assert [level for level, _text in cards] == ["good", "warn"]
    assert "binance" in cards[0][1]
    assert "2 / 2 open" in cards[0][1]
    assert "1 / 2 open" in cards[1][1]
    own = "latest.streams.filter((s) => s.exchange === 'binance')"
    total = f"rate({own}.reduce((sum, s) => sum + s.rows_per_s, 0))"
    card = "document.querySelector('.exchange').textContent"
    assert await tab.evaluate(f"{card}.includes(`${{{total}}} rows/s`)")
    assert await tab.text_of("#links-note") == "3 of 4 open, 0 reconnects"
    assert await tab.evaluate("document.querySelectorAll('#link-rows tr').length") == 0
    await tab.evaluate("document.querySelector('#links summary').click()")
    await tab.wait_for("document.querySelectorAll('#link-rows tr').length === 4")
    first = await tab.text_of("#link-rows tr")
    assert first.startswith("not open")
    assert "tls_error: certificate has expired" in first
    assert tab.errors == []


async def test_filter_and_sort(serve: Serve, busy: LiveState, tab: Any) -> None:
    """The filter takes words in any order; a head of the table sorts, and turns around."""
    await tab.open(f"http://127.0.0.1:{await serve(busy)}/")
    await tab.wait_for(f"{SHOWN} >= 1")
    await tab.evaluate(_typing("trade BINANCE"))
    assert await tab.evaluate("document.querySelectorAll('#rows tr').length") == 1
    assert await tab.text_of("#shown") == "1 of 4"
    await tab.evaluate(_typing(""))
    await tab.evaluate("document.querySelector('th[data-key=name] button').click()")
    assert "binance" in await tab.text_of("#rows tr")
    await tab.evaluate("document.querySelector('th[data-key=name] button').click()")
    assert "okx" in await tab.text_of("#rows tr")


def _typing(text: str) -> str:
    """Return a script that types `text` into the filter."""
    box = "document.getElementById('filter')"
    return f"{box}.value = {text!r}; {box}.dispatchEvent(new Event('input'))"


async def test_it_fits_on_a_phone(serve: Serve, busy: LiveState, tab: Any) -> None:
    """At 360 points nothing has to be scrolled sideways, and the names can be read."""
    url = f"http://127.0.0.1:{await serve(busy)}/"
    await tab.open(url, width=360, height=740, prefers_color_scheme="dark")
    await tab.wait_for(f"{SHOWN} >= 1")
    assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = "[...document.querySelectorAll('#rows td')].every(e => e.getBoundingClientRect().right <= 360)"
    assert await tab.evaluate(wide)
    assert (
        await tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 22, 27)"
    )


async def test_without_events_it_polls(
    serve: Serve, busy: LiveState, tab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where events are refused the page asks for the state every few seconds."""
    monkeypatch.setattr("trio_collector.endpoint.routes.MAX_VIEWERS", 0)
    await tab.open(f"http://127.0.0.1:{await serve(busy)}/")
    await tab.wait_for(f"{SHOWN} >= 1")
    assert await tab.text_of("#link-text") == "live, every 5 s"


async def test_it_says_when_it_shows_the_past(
    storage: StorageSection, busy: LiveState, tab: Any
) -> None:
    """A page whose collector is gone shows that, and for how long."""
    async with trio.open_nursery() as service:
        url = await service.start(run_endpoint, CollectorSection(metrics_port=0), storage, busy)
        await tab.open(url)
        await tab.wait_for(f"{SHOWN} >= 1")
        service.cancel_scope.cancel()
    await tab.wait_for("document.body.dataset.link === 'lost'")
    assert (await tab.text_of("#link-text")).startswith("no answer for ")
