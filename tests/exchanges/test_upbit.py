"""Upbit."""

import json
import uuid

import pytest

from trio_collector.errors import UnreadableFrame
from trio_collector.events import DataType, Event, FeedType, IgnoredMessage, Rejection, Topic
from trio_collector.exchanges.adapter import Subscription
from trio_collector.exchanges.upbit import Upbit

WANTED = [
    Subscription("KRW-BTC", FeedType.ORDERBOOK),
    Subscription("KRW-BTC", FeedType.TRADES),
    Subscription("krw-eth", FeedType.TRADES),
]


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (None, "wss://api.upbit.com/websocket/v1"),
        ("wss://sg-api.upbit.com/websocket/v1", "wss://sg-api.upbit.com/websocket/v1"),
        ("wss://sg-api.upbit.com", "wss://sg-api.upbit.com/websocket/v1"),
        ("ws://127.0.0.1:9000/upbit", "ws://127.0.0.1:9000/upbit/websocket/v1"),
    ],
)
def test_url_has_the_path(base_url: str | None, url: str) -> None:
    """A host is enough; other regions are other hosts."""
    assert Upbit(base_url).websocket_url() == url


def test_all_types_go_into_one_request() -> None:
    """A second request might replace the first."""
    [request] = Upbit(units=15).build_subscribe_messages(WANTED)
    ticket, *parts = json.loads(request.text)
    assert parts == [
        {"type": "trade", "codes": ["KRW-BTC", "KRW-ETH"]},
        {"type": "orderbook", "codes": ["KRW-BTC.15"]},
        {"format": "SIMPLE"},
    ]
    assert str(uuid.UUID(ticket["ticket"])) == ticket["ticket"]
    assert request.id is None
    assert request.topics[0] == Topic("krwbtc", DataType.ORDERBOOK)


def test_tickets_differ() -> None:
    """Another connection, or another request, has another ticket."""
    adapter = Upbit()
    texts = {
        adapter.build_subscribe_messages(WANTED[start:], first_id)[0].text[:60]
        for start in (0, 1)
        for first_id in (1, 2)
    }
    assert len(texts) == 4


@pytest.mark.parametrize(
    ("time", "exchange_us"),
    [
        (1_691_530_805_062, 1_691_530_805_062_000),
        (1_691_530_805_062_000, 1_691_530_805_062_000),
        (99_999_999_999_999, 99_999_999_999_999_000),
        (100_000_000_000_000, 100_000_000_000_000),
    ],
)
def test_unit_of_a_time_is_seen_by_its_size(time: int, exchange_us: int) -> None:
    """Milliseconds as a rule; books came with microseconds in August 2023."""
    frame = b'{"ty":"orderbook","cd":"KRW-BTC","tms":%d,"obu":[]}' % time
    assert Upbit().parse_message(frame) == (Event("krwbtc", DataType.ORDERBOOK, "", exchange_us),)


def test_units_are_no_part_of_a_name() -> None:
    """KRW-BTC.30 is what is asked for, KRW-BTC is the market."""
    assert Upbit().normalize_symbol("KRW-BTC.30") == "krwbtc"


def test_nothing_is_provable() -> None:
    """The id of a trade is unique, but says nothing of its neighbours."""
    [event] = Upbit().parse_message(b'{"ty":"trade","cd":"KRW-BTC","tms":5,"sid":0}')
    assert event == Event("krwbtc", DataType.TRADE, "0", 5_000)


def test_a_list_is_one_row_for_each_stream() -> None:
    """Of several messages of a stream the last one names the row."""
    one = '{"ty":"trade","cd":"KRW-BTC","tms":%d,"sid":%d}'
    frame = f"[{one % (5, 9)},{one % (6, 8)}]".encode()
    assert Upbit().parse_message(frame) == (Event("krwbtc", DataType.TRADE, "8", 6_000),)


def test_an_error_names_no_topic() -> None:
    """So it concerns everything that was asked for."""
    frame = b'{"error":{"name":"NO_CODES","message":"none"}}'
    assert Upbit().parse_message(frame) == (Rejection("NO_CODES: none"),)


@pytest.mark.parametrize(
    "frame",
    [
        b'{"ty":"trade","cd":"KRW-BTC","tms":5}',
        b'{"ty":"trade","cd":"KRW-BTC","sid":5}',
        b'{"ty":"trade","tms":5,"sid":5}',
        b'{"ty":"trade","cd":"KRW-BTC","tms":5.5,"sid":5}',
        b'{"ty":"orderbook","cd":"KRW-BTC","tms":5}',
        b'{"ty":"orderbook","cd":"KRW-BTC","tms":0,"obu":[]}',
        b'{"status":""}',
    ],
)
def test_a_message_with_a_field_missing_is_unreadable(frame: bytes) -> None:
    """What is needed for a row and is not there, or of another type, is not guessed."""
    with pytest.raises(UnreadableFrame):
        Upbit().parse_message(frame)


def test_no_acks_are_awaited() -> None:
    """Upbit says nothing to a request."""
    assert not Upbit.sends_acks


@pytest.mark.parametrize(
    ("error", "reason"),
    [("{}", ": "), ('{"name":"N"}', "N: "), ('{"message":"m"}', ": m")],
)
def test_an_error_says_what_it_can(error: str, reason: str) -> None:
    """Name and message, where they are given."""
    assert Upbit().parse_message(f'{{"error":{error}}}'.encode()) == (Rejection(reason),)


def test_another_status_is_no_pong() -> None:
    """Only UP answers a ping; the rest asks nothing of us."""
    assert Upbit().parse_message(b'{"status":"DOWN"}') == (IgnoredMessage("DOWN"),)
