"""Binance spot."""

import json

import pytest

from trio_collector.errors import UnreadableFrame
from trio_collector.events import (
    Ack,
    Control,
    DataType,
    Event,
    FeedType,
    IgnoredMessage,
    Rejection,
    Topic,
    UnknownMessage,
)
from trio_collector.exchanges.adapter import SnapshotRequest, Subscription
from trio_collector.exchanges.binance import Binance


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (None, "wss://stream.binance.com:443/stream"),
        ("wss://stream.binance.com:9443/ws", "wss://stream.binance.com:9443/stream"),
        ("wss://stream.binance.com:9443/ws/", "wss://stream.binance.com:9443/stream"),
        ("wss://data-stream.binance.vision", "wss://data-stream.binance.vision/stream"),
        ("wss://stream.binance.us:9443/stream", "wss://stream.binance.us:9443/stream"),
        ("ws://127.0.0.1:9000/binance", "ws://127.0.0.1:9000/binance/stream"),
    ],
)
def test_url_is_that_of_combined_streams(base_url: str | None, url: str) -> None:
    """Partial books carry no symbol, so the connection goes to /stream whatever is configured."""
    assert Binance(base_url).websocket_url() == url


def test_two_sessions_go_to_two_names() -> None:
    """The second one goes to market data's own host, and a third one to the first again."""
    urls = [Binance().websocket_url(line) for line in range(3)]
    first = "wss://stream.binance.com:443/stream"
    assert urls == [first, "wss://data-stream.binance.vision/stream", first]


def test_request_names_streams_in_lower_case() -> None:
    """One request asks for all streams, by an id that its answer repeats."""
    wanted = [
        Subscription("BTCUSDT", FeedType.ORDERBOOK),
        Subscription("币安人生USDT", FeedType.TRADES),
    ]
    [request] = Binance(depth=10).build_subscribe_messages(wanted, first_id=7)
    assert json.loads(request.text) == {
        "method": "SUBSCRIBE",
        "params": ["btcusdt@depth10@100ms", "币安人生usdt@trade"],
        "id": 7,
    }
    assert request.id == "7"
    assert request.topics == (
        Topic("btcusdt", DataType.ORDERBOOK),
        Topic("币安人生usdt", DataType.TRADE),
    )


def test_diffs_are_a_stream_of_their_own() -> None:
    """It has no depth; trades stay what they are, and a file then needs a whole book."""
    wanted = [Subscription("BTCUSDT", feed) for feed in FeedType]
    adapter = Binance(orderbook="diff")
    [request] = adapter.build_subscribe_messages(wanted)
    assert json.loads(request.text)["params"] == ["btcusdt@depth@100ms", "btcusdt@trade"]
    assert adapter.has_incremental_books
    assert not Binance().has_incremental_books


@pytest.mark.parametrize(
    ("base_url", "rest_url", "url"),
    [
        (None, None, "https://api.binance.com/api/v3/depth"),
        ("wss://stream.binance.com:9443/ws", None, "https://api.binance.com/api/v3/depth"),
        (
            "wss://data-stream.binance.vision/ws",
            None,
            "https://data-api.binance.vision/api/v3/depth",
        ),
        (
            "wss://stream.binance.us:9443",
            "https://api.binance.us/",
            "https://api.binance.us/api/v3/depth",
        ),
        (None, "http://127.0.0.1:9/binance", "http://127.0.0.1:9/binance/api/v3/depth"),
    ],
)
def test_whole_books_come_from_the_same_exchange(
    base_url: str | None, rest_url: str | None, url: str
) -> None:
    """The host of the streams tells where, or an option does."""
    adapter = Binance(base_url, orderbook="diff", rest_url=rest_url)
    request = adapter.snapshot_request("btcusdt")
    assert request == SnapshotRequest(f"{url}?symbol=BTCUSDT&limit=1000", 50)


def test_no_book_is_asked_for_at_a_guess() -> None:
    """A book of another exchange would be a wrong one."""
    with pytest.raises(ValueError, match="does not tell where"):
        Binance("wss://stream.binance.us:9443", orderbook="diff")


def test_requests_stay_within_the_limit_of_messages() -> None:
    """A full connection takes six requests, where a second allows four and leaves room for a pong."""
    limits = Binance.limits
    wanted = [Subscription(f"X{n}", FeedType.TRADES) for n in range(limits.topics_per_connection)]
    requests = Binance().build_subscribe_messages(wanted)
    assert [request.id for request in requests] == list("123456")
    assert sum(len(request.topics) for request in requests) == 1024
    assert limits.requests is not None
    assert limits.requests.times < 5


def test_a_partial_book_has_no_time() -> None:
    """The symbol comes from the stream name; no time is made up."""
    frame = b'{"stream":"ethusdt@depth20","data":{"lastUpdateId":17,"bids":[],"asks":[]}}'
    assert Binance().parse_message(frame) == (Event("ethusdt", DataType.ORDERBOOK, "17", None),)


def test_a_diff_follows_on_the_one_before() -> None:
    """The ids of a diff reach from U to u, without a gap to the next."""
    frame = (
        b'{"stream":"x@depth","data":{"e":"depthUpdate","E":3,"s":"X","U":157,"u":160,'
        b'"b":[],"a":[["0.1","0"]]}}'
    )
    [event] = Binance().parse_message(frame)
    assert event == Event("x", DataType.ORDERBOOK, "160", 3_000, previous_id=156, last_id=160)


def test_time_is_that_of_the_message() -> None:
    """The column holds E for trades as for books; T stays in the row."""
    frame = b'{"stream":"x@trade","data":{"e":"trade","E":30,"s":"X","t":5,"T":10}}'
    [event] = Binance().parse_message(frame)
    assert event == Event("x", DataType.TRADE, "5", 30_000, previous_id=4, last_id=5)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ('{"e":"trade","E":30,"s":"X"}', "without id"),
        ('{"e":"trade","s":"X","t":5}', "without id or time"),
        ('{"e":"trade","E":30,"t":5}', "symbol"),
        ('{"e":"trade","E":0,"s":"X","t":5}', "Expected"),
        ('{"e":"trade","E":30,"s":"X","t":"5"}', "Expected `int"),
        ('{"e":"aggTrade","E":30,"s":"X"}', "truncated"),
        ('{"e":"aggTrade","E":30,"s":"X","a":[]}', "Expected `int`"),
        ('{"e":"depthUpdate","E":3,"s":"X","u":160,"b":[],"a":[]}', "without ids"),
        ('{"e":"depthUpdate","E":3,"s":"X","U":1,"u":160,"a":[]}', "without levels"),
        ('{"lastUpdateId":17,"bids":[]}', "without levels"),
    ],
)
def test_a_message_with_a_field_missing_is_unreadable(data: str, reason: str) -> None:
    """What is needed for a row and is not there, or of another type, is not guessed."""
    with pytest.raises(UnreadableFrame, match=reason):
        Binance().parse_message(f'{{"stream":"x@y","data":{data}}}'.encode())


def test_kind_of_a_foreign_stream_comes_from_its_name() -> None:
    """Where a message does not say what it is, the stream's name does."""
    frame = b'{"stream":"x@bookTicker","data":{"u":1,"s":"X","b":"1","B":"1","a":"1","A":"1"}}'
    assert Binance().parse_message(frame) == (UnknownMessage("bookTicker"),)


def test_streams_are_ended_by_ids_of_their_own() -> None:
    """Both answers are alike but for the id, which has to be a number."""
    wanted = [Subscription("BTCUSDT", feed) for feed in FeedType]
    [request] = Binance(orderbook="diff").build_unsubscribe_messages(wanted, first_id=7)
    assert json.loads(request.text) == {
        "method": "UNSUBSCRIBE",
        "params": ["btcusdt@depth@100ms", "btcusdt@trade"],
        "id": 1_000_000_007,
    }
    assert request.id == "1000000007"
    many = [Subscription(f"X{n}", FeedType.TRADES) for n in range(201)]
    assert len(Binance().build_unsubscribe_messages(many)) == 2


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (b'{"result":null,"id":1000000007}', IgnoredMessage("unsubscribe")),
        (b'{"result":null,"id":7}', Ack("7")),
        (
            b'{"error":{"code":2,"msg":"bad"},"id":1000000007}',
            IgnoredMessage("unsubscribe refused, code 2: bad"),
        ),
        (
            b'{"code":2,"msg":"bad","id":1000000007}',
            IgnoredMessage("unsubscribe refused, code 2: bad"),
        ),
    ],
)
def test_the_end_of_a_subscription_is_no_ack(frame: bytes, said: Control) -> None:
    """Neither its grant nor its refusal says anything about what was asked for."""
    assert Binance().parse_message(frame) == (said,)


@pytest.mark.parametrize(
    "frame",
    [b'{"code":2,"msg":"bad","id":4}', b'{"error":{"code":2,"msg":"bad"},"id":4}'],
    ids=["flat", "nested"],
)
def test_both_forms_of_errors_are_rejections(frame: bytes) -> None:
    """The documents print errors flat, clients report them nested."""
    assert Binance().parse_message(frame) == (Rejection("code 2: bad", "4"),)


def test_an_error_without_a_text_is_one() -> None:
    """Its code is enough."""
    assert Binance().parse_message(b'{"code":2}') == (Rejection("code 2: "),)
    assert Binance().parse_message(b'{"error":{"code":2},"id":4}') == (Rejection("code 2: ", "4"),)


def test_half_a_best_price_is_no_message() -> None:
    """Without a wrapper, bookTicker is known by its id and its symbol; one of them tells nothing."""
    both = b'{"u":1,"s":"X","b":"1","B":"1","a":"1","A":"1"}'
    assert Binance().parse_message(both) == (UnknownMessage("bookTicker"),)
    for half in (b'{"u":1,"b":"1"}', b'{"s":"X","b":"1"}'):
        with pytest.raises(UnreadableFrame, match="neither data nor an answer"):
            Binance().parse_message(half)
