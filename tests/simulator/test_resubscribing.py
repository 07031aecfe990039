"""One topic of a connection is ended and asked for again, as after a gap; adapters ask."""

import itertools
import urllib.parse
from typing import Any

import msgspec
import pytest

from trio_collector.config.markets import Market
from trio_collector.events import Ack, ConnectionSequence, DataType, Event, FeedType, Rejection
from trio_collector.exchanges import create_adapter
from trio_collector.exchanges.adapter import Adapter, Subscription
from trio_collector.simulator import DEFAULT_EXCHANGES, Simulation
from trio_collector.simulator.conversation import Conversation
from trio_collector.simulator.net.frames import Frame

SETTINGS = Simulation(books_per_s=50, trades_per_s=50)


class Talk:
    """An adapter and a conversation; what was said since is kept parsed."""

    def __init__(self, exchange: str, **options: Any) -> None:
        url = f"ws://127.0.0.1:1/{exchange}"
        fields = {"exchange": exchange, "symbols": DEFAULT_EXCHANGES[exchange], "base_url": url}
        self.adapter: Adapter = create_adapter(msgspec.convert({**fields, **options}, Market))
        path = urllib.parse.urlsplit(self.adapter.websocket_url()).path
        self.conversation = Conversation(path, SETTINGS)
        self.symbols = DEFAULT_EXCHANGES[exchange]
        self.said: list[Any] = []

    def hear(self, frames: list[Frame]) -> None:
        for frame in frames:
            self.said += self.adapter.parse_message(frame.payload)

    def subscribe(self, subscriptions: list[Subscription], first_id: int) -> None:
        for request in self.adapter.build_subscribe_messages(subscriptions, first_id):
            self.hear(self.conversation.say(request.text))
        self.hear(self.conversation.wait(100))  # Coinbase's ack comes late

    def unsubscribe(self, subscriptions: list[Subscription], first_id: int) -> None:
        for request in self.adapter.build_unsubscribe_messages(subscriptions, first_id):
            self.hear(self.conversation.say(request.text))

    def events(self, symbol: str, data_type: DataType) -> list[Event]:
        return [
            item
            for item in self.said
            if isinstance(item, Event)
            and item.symbol == self.adapter.normalize_symbol(symbol)
            and item.data_type is data_type
        ]


@pytest.mark.parametrize("exchange", ["coinbase", "okx", "bybit"])
def test_one_book_begins_afresh(exchange: str) -> None:
    """It stops, is granted again and begins with a snapshot; its neighbours go on without a gap."""
    talk = Talk(exchange)
    first, second = talk.symbols[:2]
    talk.subscribe([Subscription(each, feed) for each in (first, second) for feed in FeedType], 1)
    talk.hear(talk.conversation.wait(500))
    again = [Subscription(first, FeedType.ORDERBOOK)]
    talk.unsubscribe(again, 100)
    before = len(talk.events(first, DataType.ORDERBOOK))
    talk.hear(talk.conversation.wait(500))
    assert len(talk.events(first, DataType.ORDERBOOK)) == before
    talk.said = [item for item in talk.said if not isinstance(item, Ack)]
    talk.subscribe(again, 200)
    talk.hear(talk.conversation.wait(500))
    fresh = talk.events(first, DataType.ORDERBOOK)[before:]
    assert [event.is_reset for event in fresh[:2]] == [True, False]
    assert any(isinstance(item, Ack) for item in talk.said)
    assert not any(isinstance(item, Rejection) for item in talk.said)
    for symbol, data_type in ((first, DataType.TRADE), (second, DataType.ORDERBOOK)):
        assert gaps(talk.events(symbol, data_type)) == []
    assert gaps(fresh) == []


def gaps(events: list[Event]) -> list[Event]:
    """Return the events that do not follow what came before them."""
    pairs = itertools.pairwise(events)
    return [
        later
        for earlier, later in pairs
        if later.previous_id is not None
        and not later.is_reset
        and later.previous_id != earlier.last_id
    ]


def test_coinbase_numbers_have_no_hole() -> None:
    """Acks and snapshots of the second subscription are counted with the rest."""
    talk = Talk("coinbase")
    books = [Subscription(symbol, FeedType.ORDERBOOK) for symbol in talk.symbols[:2]]
    talk.subscribe(books, 1)
    for first_id in (10, 20, 30):
        talk.hear(talk.conversation.wait(300))
        talk.unsubscribe(books[:1], first_id)
        talk.subscribe(books[:1], first_id + 5)
    numbers = [item.number for item in talk.said if isinstance(item, ConnectionSequence)]
    assert numbers == list(range(len(numbers)))


def test_binance_acks_both_and_goes_on() -> None:
    """A stream of Binance has no snapshot: it stops, and goes on with ids of its own time."""
    conversation = Conversation("/binance/stream", SETTINGS)
    both = '{"method":"%s","params":["btcusdt@depth@100ms"],"id":%d}'
    conversation.say('{"method":"SUBSCRIBE","params":["ethusdt@trade"],"id":1}')
    conversation.say(both % ("SUBSCRIBE", 2))
    conversation.wait(300)
    (gone,) = conversation.say(both % ("UNSUBSCRIBE", 3))
    assert gone.payload == b'{"result":null,"id":3}'
    heard = conversation.wait(1_000)
    assert heard
    assert all(b"ethusdt@trade" in frame.payload for frame in heard)
    market = conversation.exchange.markets["BTCUSDT"]
    last_id = market.book(0).last_id
    (granted,) = conversation.say(both % ("SUBSCRIBE", 4))
    assert granted.payload == b'{"result":null,"id":4}'
    diffs = [frame for frame in conversation.wait(500) if b"@depth" in frame.payload]
    assert diffs[0].ids
    assert diffs[0].ids[0] == last_id + 1


@pytest.mark.parametrize("exchange", ["binance", "upbit", "okx", "bybit"])
def test_two_connections_hear_the_same(exchange: str) -> None:
    """Ids and bytes are the exchange's; a second connection, whenever it came, gets the same."""
    talk = Talk(exchange)
    other = Conversation(talk.conversation.dialect.target, exchange=talk.conversation.exchange)
    wanted = [Subscription(symbol, feed) for symbol in talk.symbols[:2] for feed in FeedType]
    requests = talk.adapter.build_subscribe_messages(wanted)
    for request in requests:
        talk.conversation.say(request.text)
    talk.conversation.wait(300)
    for request in requests:
        other.say(request.text)
    assert talk.conversation.wait(1_000) == [frame for frame in other.hear() if frame.streams]
