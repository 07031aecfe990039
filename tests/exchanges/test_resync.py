"""Resubscribing a book and receiving it twice, in conversation with the simulator's exchanges."""

import urllib.parse
from collections.abc import Iterable
from itertools import pairwise

import pytest

from trio_collector.events import Ack, Control, DataType, Event, FeedType, Rejection
from trio_collector.exchanges import ADAPTERS
from trio_collector.exchanges.adapter import Adapter, SubscribeRequest, Subscription
from trio_collector.exchanges.binance import Binance
from trio_collector.exchanges.bybit import Bybit
from trio_collector.exchanges.coinbase import Coinbase
from trio_collector.exchanges.okx import Okx
from trio_collector.exchanges.upbit import Upbit
from trio_collector.simulator import Simulation
from trio_collector.simulator.conversation import Conversation
from trio_collector.simulator.net.frames import Frame, Opcode
from trio_collector.simulator.net.rest import answer_get
from trio_collector.simulator.record import SentRecord

FAST = Simulation(books_per_s=100, trades_per_s=50)
EXCHANGES: dict[str, tuple[str, str]] = {
    "binance": ("/binance/stream", "BTCUSDT"),
    "coinbase": ("/coinbase", "BTC-USD"),
    "upbit": ("/upbit/websocket/v1", "KRW-BTC"),
    "okx": ("/okx/ws/v5/public", "BTC-USDT"),
    "bybit": ("/bybit/v5/public/spot", "BTCUSDT"),
}


def say(conversation: Conversation, requests: Iterable[SubscribeRequest]) -> list[Frame]:
    return [frame for request in requests for frame in conversation.say(request.text)]


def read(adapter: Adapter, frames: Iterable[Frame]) -> tuple[list[Event], list[Control]]:
    """Return events and controls of `frames`, in their order."""
    said = [
        item
        for frame in frames
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY)
        for item in adapter.parse_message(frame.payload)
    ]
    events = [item for item in said if isinstance(item, Event)]
    return events, [item for item in said if not isinstance(item, Event)]


def books(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if event.data_type is DataType.ORDERBOOK]


@pytest.mark.parametrize(
    "adapter", [Binance(), Okx(), Bybit(), Coinbase()], ids=lambda each: each.name
)
def test_resubscribing_brings_a_new_book(adapter: Adapter) -> None:
    """Unsubscribed and subscribed again it comes, as a snapshot where books are incremental.

    No answer on the way can be mistaken for another one.
    """
    target, symbol = EXCHANGES[adapter.name]
    conversation = Conversation(target, FAST)
    wanted = [Subscription(symbol, feed) for feed in FeedType]
    book = wanted[:1]
    say(conversation, adapter.build_subscribe_messages(wanted))
    conversation.wait(1_000)

    ending = adapter.build_unsubscribe_messages(book, first_id=3)
    events, controls = read(adapter, say(conversation, ending))
    assert not any(isinstance(control, Rejection) for control in controls)
    granted = [control for control in controls if isinstance(control, Ack)]
    assert all(topic.data_type is DataType.TRADE for ack in granted for topic in ack.topics)
    assert not any(ack.request_id for ack in granted)
    assert books(events) == []
    events, _ = read(adapter, conversation.wait(1_000))
    assert books(events) == []
    assert events  # trades go on

    asking = adapter.build_subscribe_messages(book, first_id=4)
    frames = say(conversation, asking) + conversation.wait(1_000)
    events, controls = read(adapter, frames)
    assert any(isinstance(control, Ack) for control in controls)
    first, *more = books(events)
    assert first.is_reset == adapter.has_incremental_books
    assert more
    assert not any(event.is_reset for event in more)


def test_diffs_are_spliced_onto_a_book_by_http() -> None:
    """A diff that follows on the book is among those that came meanwhile, without a gap."""
    conversation = Conversation("/binance/stream", FAST)
    adapter = Binance("ws://x/binance", orderbook="diff", rest_url="http://x/binance")
    wanted = [Subscription("BTCUSDT", FeedType.ORDERBOOK)]
    frames = say(conversation, adapter.build_subscribe_messages(wanted)) + conversation.wait(500)
    request = adapter.snapshot_request("BTCUSDT")
    assert request is not None
    parts = urllib.parse.urlsplit(request.url)
    answer = answer_get(
        f"{parts.path}?{parts.query}", {"binance": conversation.exchange}, SentRecord()
    )
    book = adapter.parse_snapshot("BTCUSDT", answer.body)
    diffs = books(read(adapter, frames + conversation.wait(500))[0])
    assert all(after.previous_id == before.last_id for before, after in pairwise(diffs))
    assert book.last_id is not None
    first, last = diffs[0].previous_id, diffs[-1].last_id
    assert first is not None
    assert last is not None
    assert first <= book.last_id < last


@pytest.mark.parametrize(
    "adapter",
    [
        Binance(),
        Binance(orderbook="diff"),
        Coinbase(),
        Upbit(),
        Okx(),
        Okx(book_channel="books5"),
        Bybit(),
    ],
    ids=lambda each: each.name,
)
def test_ids_that_are_alike_name_one_message(adapter: Adapter) -> None:
    """Two connections bring the same bytes under the same ids, where the adapter relies on it."""
    target, symbol = EXCHANGES[adapter.name]
    one = Conversation(target, FAST)
    two = Conversation(target, exchange=one.exchange)
    wanted = [Subscription(symbol, feed) for feed in FeedType]
    for conversation in (one, two):
        say(conversation, adapter.build_subscribe_messages(wanted))
    heard = [*one.wait(2_000), *two.hear()]
    messages: dict[tuple[DataType, str], bytes] = {}
    for frame in heard:
        for event in read(adapter, [frame])[0]:
            if event.data_type in adapter.global_ids and not event.is_reset:
                key = (event.data_type, event.sequence_id)
                # Coinbase counts and dates the frames of each connection before their events.
                content = frame.payload.rpartition(b'"events"')[2]
                assert messages.setdefault(key, content) == content
    assert {data_type for data_type, _ in messages} == adapter.global_ids


def test_every_exchange_is_here() -> None:
    """No adapter escapes these tests."""
    assert set(EXCHANGES) == set(ADAPTERS)
