"""OKX v5."""

import json

import pytest

from trio_collector.errors import UnreadableFrame
from trio_collector.events import (
    Ack,
    DataType,
    Event,
    FeedType,
    IgnoredMessage,
    Pong,
    Rejection,
    Topic,
    UnknownMessage,
)
from trio_collector.exchanges.adapter import Subscription
from trio_collector.exchanges.okx import Okx


def frame(channel: str, *items: dict[str, object], action: str | None = None) -> bytes:
    message: dict[str, object] = {"arg": {"channel": channel, "instId": "A-B"}, "data": items}
    if action is not None:
        message["action"] = action
    return json.dumps(message).encode()


def book(**ids: int) -> dict[str, object]:
    return {"asks": [], "bids": [], "ts": "7", **ids}


def trade(trade_id: str, **more: str) -> dict[str, object]:
    return {"instId": "A-B", "tradeId": trade_id, "ts": "7", **more}


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (None, "wss://ws.okx.com/ws/v5/public"),
        ("wss://wsaws.okx.com:8443/ws/v5/public", "wss://wsaws.okx.com:8443/ws/v5/public"),
        ("wss://wseea.okx.com", "wss://wseea.okx.com/ws/v5/public"),
        ("ws://127.0.0.1:9000/okx", "ws://127.0.0.1:9000/okx/ws/v5/public"),
    ],
)
def test_url_has_the_path_and_no_port(base_url: str | None, url: str) -> None:
    """The default has no port; a base URL is used as it is given."""
    assert Okx(base_url).websocket_url() == url


def test_each_argument_is_a_request() -> None:
    """An error names no argument, so that only the id tells what failed."""
    wanted = [Subscription("btc-usdt", feed) for feed in FeedType]
    requests = Okx(book_channel="books5").build_subscribe_messages(wanted, first_id=9)
    assert [json.loads(request.text) for request in requests] == [
        {"id": "9", "op": "subscribe", "args": [{"channel": "books5", "instId": "BTC-USDT"}]},
        {"id": "10", "op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]},
    ]
    assert [request.topics for request in requests] == [
        (Topic("btcusdt", DataType.ORDERBOOK),),
        (Topic("btcusdt", DataType.TRADE),),
    ]


def test_each_subscription_is_ended_on_its_own() -> None:
    """The channel is the one that was asked for; ids are of a kind of their own."""
    wanted = [Subscription("btc-usdt", feed) for feed in FeedType]
    requests = Okx(book_channel="books5").build_unsubscribe_messages(wanted, first_id=9)
    assert [json.loads(request.text) for request in requests] == [
        {"id": "u9", "op": "unsubscribe", "args": [{"channel": "books5", "instId": "BTC-USDT"}]},
        {"id": "u10", "op": "unsubscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]},
    ]
    assert [request.id for request in requests] == ["u9", "u10"]


def test_a_refused_end_refuses_no_subscription() -> None:
    """An error names no argument; only its id tells that it concerns no subscribe."""
    text = b'{"id":"%s","event":"error","code":"60018","msg":"none"}'
    assert Okx().parse_message(text % b"9") == (Rejection("code 60018: none", "9"),)
    refused = IgnoredMessage("unsubscribe refused, code 60018: none")
    assert Okx().parse_message(text % b"u9") == (refused,)


@pytest.mark.parametrize(
    ("channel", "is_delta"), [("books", True), ("books5", False), ("bbo-tbt", False)]
)
def test_only_books_are_changes(channel: str, is_delta: bool) -> None:
    """The others are whole each time."""
    assert Okx(book_channel=channel).has_incremental_books == is_delta


@pytest.mark.parametrize(
    ("message", "previous_id", "last_id", "is_reset"),
    [
        (frame("books", book(seqId=5, prevSeqId=-1), action="snapshot"), None, 5, True),
        (frame("books", book(seqId=8, prevSeqId=5), action="update"), 5, 8, False),
        (frame("books", book(seqId=8, prevSeqId=8), action="update"), 8, 8, False),
        (frame("books", book(seqId=2, prevSeqId=8), action="update"), 8, 2, False),
        (frame("books", book(), action="snapshot"), None, None, True),
        (frame("books", book(), action="update"), None, None, False),
    ],
    ids=["snapshot", "update", "keepalive", "ids go back", "old snapshot", "old update"],
)
def test_a_book_follows_on_the_one_before(
    message: bytes, previous_id: int | None, last_id: int | None, is_reset: bool
) -> None:
    """prevSeqId is the last seqId, also without a change and after a maintenance."""
    [event] = Okx().parse_message(message)
    sequence_id = "" if last_id is None else str(last_id)
    assert event == Event(
        "ab", DataType.ORDERBOOK, sequence_id, 7_000, previous_id, last_id, is_reset
    )


@pytest.mark.parametrize("channel", ["books5", "bbo-tbt"])
def test_whole_books_prove_nothing(channel: str) -> None:
    """Their ids grow in steps of any size."""
    [event] = Okx(book_channel=channel).parse_message(frame(channel, book(seqId=5)))
    assert event == Event("ab", DataType.ORDERBOOK, "5", 7_000)


@pytest.mark.parametrize("channel", ["books5", "bbo-tbt", "books-l2-tbt", "tickers", "trades-all"])
def test_channels_that_were_not_chosen_are_foreign(channel: str) -> None:
    """A second channel of books within one stream would look like gaps."""
    assert Okx().parse_message(frame(channel, book(seqId=5))) == (UnknownMessage(channel),)


def test_trades_follow_on_those_before() -> None:
    """A message sums up `count` trades and has the id of the last."""
    [event] = Okx().parse_message(frame("trades", trade("30", count="3")))
    assert event == Event("ab", DataType.TRADE, "30", 7_000, previous_id=27, last_id=30)


def test_several_trades_are_one_row() -> None:
    """The first tells what it follows on, the last names the row."""
    items = trade("30", count="3"), trade("32", count="2")
    [event] = Okx().parse_message(frame("trades", *items))
    assert event == Event("ab", DataType.TRADE, "32", 7_000, previous_id=27, last_id=32)


def test_trades_without_a_count_prove_nothing() -> None:
    """Recordings of 2022 have no count."""
    [event] = Okx().parse_message(frame("trades", trade("30")))
    assert event == Event("ab", DataType.TRADE, "30", 7_000)


def test_ack_of_a_foreign_channel_grants_no_topic() -> None:
    """It is an ack all the same."""
    text = b'{"id":"3","event":"subscribe","arg":{"channel":"tickers","instId":"A-B"}}'
    assert Okx().parse_message(text) == (Ack("3"),)


def test_pong_is_a_bare_text() -> None:
    """It is not JSON."""
    assert Okx().parse_message(b"pong") == (Pong(),)
    assert Okx.keepalive is not None
    assert Okx.keepalive.text == "ping"
    assert Okx.keepalive.is_idle_only


@pytest.mark.parametrize(
    "message",
    [
        frame("books"),
        frame("books", {"asks": [], "bids": [], "seqId": 5}),
        frame("books", {"asks": [], "ts": "7", "seqId": 5}),
        frame("books", {"bids": [], "ts": "7", "seqId": 5}),
        frame("books", book(seqId=5), action="other"),
        frame("trades", {"instId": "A-B", "ts": "7"}),
        frame("trades", {"instId": "A-B", "tradeId": "5"}),
        frame("trades", trade("five")),
        frame("trades", trade("5"), {"instId": "A-B", "ts": "7"}),
        frame("trades", {"instId": "A-B", "ts": "7"}, trade("5")),
        b'{"arg":{"channel":"trades"},"data":[{"tradeId":"5","ts":"7"}]}',
        b'{"event":"subscribe"}',
        b'{"arg":{"channel":"books","instId":"A"}}',
        b"pong ",
        b"PONG",
    ],
)
def test_a_message_with_a_field_missing_is_unreadable(message: bytes) -> None:
    """What is needed for a row and is not there, or of another type, is not guessed."""
    with pytest.raises(UnreadableFrame):
        Okx().parse_message(message)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b'{"event":"error","code":"60012","msg":"m"}', "code 60012: m"),
        (b'{"event":"error","code":"60012"}', "code 60012: "),
        (b'{"event":"error","msg":"m"}', "code : m"),
        (
            b'{"event":"channel-conn-count-error","channel":"books"}',
            "too many connections with channel books",
        ),
        (b'{"event":"channel-conn-count-error"}', "too many connections with channel "),
    ],
)
def test_a_refusal_says_what_it_can(message: bytes, reason: str) -> None:
    """A text that is left out is empty; nothing is made up."""
    assert Okx().parse_message(message) == (Rejection(reason),)
