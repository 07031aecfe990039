"""Coinbase Advanced Trade."""

import datetime
import itertools
import json

import pytest

from trio_collector.errors import UnreadableFrame
from trio_collector.events import (
    Ack,
    ConnectionSequence,
    DataType,
    Event,
    FeedType,
    Heartbeat,
    Rejection,
    Topic,
)
from trio_collector.exchanges.adapter import Subscription
from trio_collector.exchanges.coinbase import Coinbase

WANTED = [
    Subscription("BTC-USD", FeedType.ORDERBOOK),
    Subscription("eth-usd", FeedType.ORDERBOOK),
    Subscription("BTC-USD", FeedType.TRADES),
]
TIME = "2026-11-01T10:00:00.25Z"
TIME_US = int(datetime.datetime(2026, 11, 1, 10, tzinfo=datetime.UTC).timestamp()) * 1_000_000


def frame(channel: str, events: object, timestamp: str = TIME, number: int = 4) -> bytes:
    message = {
        "channel": channel,
        "timestamp": timestamp,
        "sequence_num": number,
        "events": events,
    }
    return json.dumps(message).encode()


def trades(kind: str, *pairs: tuple[str, int]) -> dict[str, object]:
    found = [{"trade_id": str(number), "product_id": product} for product, number in pairs]
    return {"type": kind, "trades": found}


def test_heartbeats_are_asked_for_first() -> None:
    """One request for heartbeats, then one for each channel with all of its products."""
    requests = Coinbase().build_subscribe_messages(WANTED)
    assert [json.loads(request.text) for request in requests] == [
        {"type": "subscribe", "channel": "heartbeats"},
        {"type": "subscribe", "channel": "level2", "product_ids": ["BTC-USD", "ETH-USD"]},
        {"type": "subscribe", "channel": "market_trades", "product_ids": ["BTC-USD"]},
    ]
    assert [request.id for request in requests] == [None] * 3
    assert [request.topics for request in requests] == [
        (),
        (Topic("btcusd", DataType.ORDERBOOK), Topic("ethusd", DataType.ORDERBOOK)),
        (Topic("btcusd", DataType.TRADE),),
    ]


def test_each_request_carries_a_token_of_its_own() -> None:
    """With a key, every request has a fresh token."""
    numbers = itertools.count()
    adapter = Coinbase(token=lambda: f"token-{next(numbers)}")
    texts = [request.text for request in adapter.build_subscribe_messages(WANTED)]
    assert [json.loads(text)["jwt"] for text in texts] == ["token-0", "token-1", "token-2"]


def test_channels_are_ended_apart() -> None:
    """One request for each channel, with a token of its own; heartbeats go on."""
    numbers = itertools.count()
    adapter = Coinbase(token=lambda: f"token-{next(numbers)}")
    requests = adapter.build_unsubscribe_messages(WANTED)
    assert [json.loads(request.text) for request in requests] == [
        {
            "type": "unsubscribe",
            "channel": "level2",
            "product_ids": ["BTC-USD", "ETH-USD"],
            "jwt": "token-0",
        },
        {
            "type": "unsubscribe",
            "channel": "market_trades",
            "product_ids": ["BTC-USD"],
            "jwt": "token-1",
        },
    ]
    [request] = Coinbase().build_unsubscribe_messages(WANTED[:1])
    assert "jwt" not in request.text


@pytest.mark.parametrize("left", [{}, {"heartbeats": ["heartbeats"]}, {"level2": ["C-D"]}])
def test_what_is_left_grants_nothing_that_was_ended(left: dict[str, list[str]]) -> None:
    """The answer to an unsubscribe lists what goes on; A-B is not in it."""
    [_, ack] = Coinbase().parse_message(frame("subscriptions", [{"subscriptions": left}]))
    assert isinstance(ack, Ack)
    assert ack.request_id is None
    assert Topic("ab", DataType.ORDERBOOK) not in ack.topics
    assert len(ack.topics) == ("level2" in left)


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("BTC-USD", "btcusd"),
        ("BTC-USDC", "btcusd"),
        ("btc-usdc", "btcusd"),
        ("USDC-EUR", "usdceur"),
        ("USDT-USDC", "usdtusdc"),
        ("EURC-USDC", "eurcusdc"),
        ("BTC-USDT", "btcusdt"),
    ],
)
def test_usdc_products_are_those_of_usd(product: str, name: str) -> None:
    """BTC-USDC arrives as BTC-USD; only two products of USDC are markets of their own."""
    assert Coinbase().normalize_symbol(product) == name


def test_an_alias_is_not_asked_for_twice() -> None:
    """BTC-USD and BTC-USDC are one topic, asked for by the later spelling."""
    wanted = [Subscription(symbol, FeedType.TRADES) for symbol in ("BTC-USD", "BTC-USDC")]
    request = Coinbase().build_subscribe_messages(wanted)[-1]
    assert json.loads(request.text)["product_ids"] == ["BTC-USDC"]
    assert request.topics == (Topic("btcusd", DataType.TRADE),)


@pytest.mark.parametrize(
    ("timestamp", "exchange_us"),
    [
        ("2026-11-01T10:00:00Z", TIME_US),
        ("2026-11-01T10:00:00.5Z", TIME_US + 500_000),
        ("2026-11-01T10:00:00.000001Z", TIME_US + 1),
        ("2026-11-01T10:00:00.999999499Z", TIME_US + 999_999),
        ("2026-11-01T10:00:00.9999996Z", TIME_US + 1_000_000),
        ("2026-11-01T12:00:00+02:00", TIME_US),
        ("0001-01-01T00:00:00Z", None),
        ("1970-12-31T23:59:59Z", None),
        ("1971-01-01T00:00:00Z", 31_536_000_000_000),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139_000_000),
    ],
)
def test_time_is_microseconds_of_the_envelope(timestamp: str, exchange_us: int | None) -> None:
    """Up to nine decimals are rounded to six; Go's zero time is no time."""
    message = frame("l2_data", [{"type": "update", "product_id": "A", "updates": []}], timestamp)
    [_, event] = Coinbase().parse_message(message)
    assert isinstance(event, Event)
    assert event.exchange_us == exchange_us


@pytest.mark.parametrize(
    "channel", ["heartbeats", "subscriptions", "l2_data", "market_trades", "?"]
)
def test_every_frame_counts(channel: str) -> None:
    """The sequence counts frames of all channels, also those without a row."""
    assert Coinbase().parse_message(frame(channel, []))[0] == ConnectionSequence(4)


def test_trades_follow_on_those_before_for_each_product() -> None:
    """Newest come first; the highest id names the row, and the lowest follows on the row before."""
    events = [trades("update", ("A-B", 12), ("C-D", 5), ("A-B", 11))]
    [_, first, second] = Coinbase().parse_message(frame("market_trades", events))
    at = TIME_US + 250_000
    assert first == Event("ab", DataType.TRADE, "12", at, previous_id=10, last_id=12)
    assert second == Event("cd", DataType.TRADE, "5", at, previous_id=4, last_id=5)


def test_past_trades_go_on_from_what_is_known() -> None:
    """A snapshot of past trades overlaps with what came before the reconnect, or shows the gap."""
    past = trades("snapshot", ("A", 7), ("A", 6), ("A", 5))
    [_, event] = Coinbase().parse_message(frame("market_trades", [past]))
    assert isinstance(event, Event)
    assert (event.previous_id, event.last_id, event.is_reset) == (4, 7, False)


def test_books_are_numbered_by_their_frame() -> None:
    """Books have no ids of their own; a snapshot of any of a product's events is a reset."""
    events = [
        {"type": "update", "product_id": "A-B", "updates": []},
        {"type": "snapshot", "product_id": "A-B", "updates": []},
    ]
    [_, event] = Coinbase().parse_message(frame("l2_data", events))
    assert event == Event("ab", DataType.ORDERBOOK, "4", TIME_US + 250_000, is_reset=True)


def test_an_ack_tells_what_is_granted_so_far() -> None:
    """Channels are named as they were asked for; others and heartbeats grant no topic."""
    granted = {"level2": ["B-C"], "market_trades": ["A-B"], "heartbeats": ["heartbeats"]}
    [_, ack] = Coinbase().parse_message(frame("subscriptions", [{"subscriptions": granted}]))
    topics = (Topic("ab", DataType.TRADE), Topic("bc", DataType.ORDERBOOK))
    assert ack == Ack(topics=topics)


def test_a_heartbeat_is_one_in_either_form() -> None:
    """The counter is a number in the feed and a text in a document."""
    for counter in (5, "5"):
        found = Coinbase().parse_message(frame("heartbeats", [{"heartbeat_counter": counter}]))
        assert found == (ConnectionSequence(4), Heartbeat())


@pytest.mark.parametrize(
    ("channel", "events"),
    [
        ("l2_data", [{"type": "update", "updates": []}]),
        ("l2_data", [{"type": "update", "product_id": "A"}]),
        ("l2_data", [{"type": "other", "product_id": "A", "updates": []}]),
        ("l2_data", None),
        ("market_trades", [{"type": "update"}]),
        ("market_trades", [{"type": "update", "trades": [{"product_id": "A"}]}]),
        ("market_trades", [{"type": "update", "trades": [{"product_id": "A", "trade_id": 5}]}]),
        ("market_trades", [trades("update", ("A", -5))]),
        ("market_trades", [trades("update", ("A", 10**19))]),
    ],
)
def test_a_message_with_a_field_missing_is_unreadable(channel: str, events: object) -> None:
    """What is needed for a row and is not there, or of another type, is not guessed."""
    with pytest.raises(UnreadableFrame):
        Coinbase().parse_message(frame(channel, events))


def test_url_is_the_base_url() -> None:
    """There is no path to append."""
    assert Coinbase().websocket_url() == "wss://advanced-trade-ws.coinbase.com"
    assert Coinbase("ws://127.0.0.1:1/x").websocket_url() == "ws://127.0.0.1:1/x"


def test_a_book_without_a_number_is_unreadable() -> None:
    """The number of the frame is the only id that a book has."""
    message = json.loads(frame("l2_data", [{"type": "update", "product_id": "A", "updates": []}]))
    del message["sequence_num"]
    with pytest.raises(UnreadableFrame, match="without sequence_num"):
        Coinbase().parse_message(json.dumps(message).encode())


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"message": "m", "reason": "r"}, "m: r"),
        ({"message": "m"}, "m"),
        ({"reason": "r"}, "r"),
        ({}, ""),
    ],
)
def test_an_error_says_what_it_can(more: dict[str, str], reason: str) -> None:
    """Message and reason, where they are given."""
    found = Coinbase().parse_message(json.dumps({"type": "error", **more}).encode())
    assert found == (Rejection(reason),)


def test_a_frame_without_a_number_is_not_counted() -> None:
    """It says what it says; no place among the frames is made up."""
    found = Coinbase().parse_message(b'{"channel":"heartbeats","events":[]}')
    assert found == (Heartbeat(),)


def test_an_ack_of_nothing_grants_nothing() -> None:
    """An entry may list no subscriptions at all."""
    assert Coinbase().parse_message(frame("subscriptions", [{}]))[1:] == (Ack(),)


def test_a_message_without_a_time_is_a_row_without_one() -> None:
    """No time is made up for the column."""
    message = json.loads(frame("market_trades", [trades("update", ("A", 5))]))
    del message["timestamp"]
    [_, event] = Coinbase().parse_message(json.dumps(message).encode())
    assert event == Event("a", DataType.TRADE, "5", None, previous_id=4, last_id=5)
