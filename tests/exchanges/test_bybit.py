"""Bybit v5."""

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
)
from trio_collector.exchanges.adapter import Subscription
from trio_collector.exchanges.bybit import Bybit


def book(topic: str = "orderbook.50.XY", kind: str = "delta", update_id: int = 9) -> bytes:
    data = {"s": "XY", "b": [], "a": [], "u": update_id, "seq": 4}
    return json.dumps({"topic": topic, "ts": 7, "type": kind, "data": data, "cts": 6}).encode()


def trades(*items: dict[str, object]) -> bytes:
    message = {"topic": "publicTrade.XY", "ts": 7, "type": "snapshot", "data": items}
    return json.dumps(message).encode()


def refusal(ret_msg: str) -> bytes:
    answer = {"success": False, "ret_msg": ret_msg, "req_id": "3", "op": "subscribe"}
    return json.dumps(answer).encode()


@pytest.mark.parametrize(
    ("base_url", "category", "url", "name"),
    [
        (None, None, "wss://stream.bybit.com/v5/public/spot", "xy"),
        (None, "spot", "wss://stream.bybit.com/v5/public/spot", "xy"),
        (None, "linear", "wss://stream.bybit.com/v5/public/linear", "xy.linear"),
        (
            "wss://stream.bybit.tr",
            "inverse",
            "wss://stream.bybit.tr/v5/public/inverse",
            "xy.inverse",
        ),
        ("wss://h/v5/public/linear", None, "wss://h/v5/public/linear", "xy.linear"),
        ("wss://h/v5/public/spot", "linear", "wss://h/v5/public/linear", "xy.linear"),
        ("ws://127.0.0.1:9000/bybit", None, "ws://127.0.0.1:9000/bybit/v5/public/spot", "xy"),
    ],
)
def test_category_tells_apart_what_topics_do_not(
    base_url: str | None, category: str | None, url: str, name: str
) -> None:
    """The endpoint and the names of rows always agree; the option goes before the path."""
    adapter = Bybit(base_url, category)
    assert adapter.websocket_url() == url
    assert adapter.normalize_symbol("XY") == name
    [event] = adapter.parse_message(book())
    assert isinstance(event, Event)
    assert event.symbol == name


def test_a_request_has_ten_topics_at_most() -> None:
    """Spot takes no more, and one bad topic takes down nine others at worst."""
    wanted = [Subscription(f"x{number}usdt", FeedType.TRADES) for number in range(11)]
    wanted.append(Subscription("BTCUSDT", FeedType.ORDERBOOK))
    first, second = Bybit().build_subscribe_messages(wanted, first_id=3)
    assert len(first.topics) == 10
    assert json.loads(second.text) == {
        "req_id": "4",
        "op": "subscribe",
        "args": ["publicTrade.X10USDT", "orderbook.50.BTCUSDT"],
    }
    assert second.id == "4"


def test_subscriptions_are_ended_ten_at_a_time() -> None:
    """They are those that a request would ask for; ids are of a kind of their own."""
    wanted = [Subscription(f"X{number}", FeedType.TRADES) for number in range(9)]
    wanted += [Subscription(f"X{number}", FeedType.ORDERBOOK) for number in (9, 10)]
    first, second = Bybit().build_unsubscribe_messages(wanted, first_id=3)
    assert len(json.loads(first.text)["args"]) == 10
    assert json.loads(second.text) == {
        "req_id": "u4",
        "op": "unsubscribe",
        "args": ["orderbook.50.X10"],
    }
    assert (first.id, second.id) == ("u3", "u4")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"success": True, "op": "unsubscribe"}, "unsubscribe"),
        ({"success": True, "ret_msg": "", "req_id": "u3", "op": "unsubscribe"}, "unsubscribe"),
        ({"success": True, "ret_msg": "", "req_id": "u3", "op": "subscribe"}, "unsubscribe"),
        ({"success": False, "ret_msg": "no", "op": "unsubscribe"}, "unsubscribe refused, no"),
        (
            {"success": False, "ret_msg": "x,topic:orderbook.50.XY", "req_id": "u3"},
            "unsubscribe refused, x,topic:orderbook.50.XY",
        ),
    ],
)
def test_the_end_of_a_subscription_is_no_ack(answer: dict[str, object], kind: str) -> None:
    """Neither its grant nor its refusal says anything about what was asked for."""
    assert Bybit().parse_message(json.dumps(answer).encode()) == (IgnoredMessage(kind),)


@pytest.mark.parametrize(
    ("message", "previous_id", "last_id", "is_reset"),
    [
        (book(kind="snapshot"), None, 9, True),
        (book(), 8, 9, False),
        (book(update_id=1), None, 1, True),
        (book("orderbook.1.XY", "snapshot"), None, None, False),
        (book("orderbook.1.XY", "delta"), None, None, False),
        (book("orderbook.1000.XY", "delta"), 8, 9, False),
    ],
    ids=["snapshot", "delta", "restart", "level 1", "old level 1", "deep"],
)
def test_a_delta_follows_on_the_one_before(
    message: bytes, previous_id: int | None, last_id: int | None, is_reset: bool
) -> None:
    """u grows by one; a snapshot or u = 1 is a reset; level 1 repeats its u."""
    [event] = Bybit().parse_message(message)
    assert isinstance(event, Event)
    assert (event.previous_id, event.last_id, event.is_reset) == (previous_id, last_id, is_reset)
    assert event.exchange_us == 7_000


def test_many_trades_are_one_row() -> None:
    """The last one gives id and time; the ids prove nothing."""
    items: list[dict[str, object]] = [{"i": str(n), "T": n, "s": "XY"} for n in (5, 6)]
    [event] = Bybit().parse_message(trades(*items))
    assert event == Event("xy", DataType.TRADE, "6", 6_000)


def test_a_bad_topic_takes_its_request_down() -> None:
    """The refusal names the topic, and the others have to be asked for again."""
    text = "error:handler not found,topic:orderbook.500.XY"
    topic = Topic("xy", DataType.ORDERBOOK)
    assert Bybit().parse_message(refusal(text)) == (Rejection(text, "3", (topic,), True),)


def test_a_topic_that_runs_already_is_granted() -> None:
    """The first subscription keeps running, so that its data is what was asked for."""
    text = "error:already subscribed,topic:publicTrade.XY"
    assert Bybit(category="linear").parse_message(refusal(text)) == (
        Ack(topics=(Topic("xy.linear", DataType.TRADE),)),
    )


def test_public_pong_keeps_the_op_of_the_ping() -> None:
    """Only ret_msg says that it is an answer; private connections answer with op pong."""
    assert Bybit().parse_message(b'{"success":true,"ret_msg":"pong","op":"ping"}') == (Pong(),)
    assert Bybit().parse_message(b'{"op":"pong","args":["1"]}') == (Pong(),)
    assert Bybit().parse_message(b'{"op":"ping","ret_msg":"x"}') == (IgnoredMessage("ping"),)


@pytest.mark.parametrize(
    "message",
    [
        book(kind="other"),
        b'{"topic":"orderbook.50.XY","ts":7,"type":"delta","data":{"s":"XY","b":[],"a":[]}}',
        b'{"topic":"orderbook.50.XY","type":"delta","data":{"s":"XY","b":[],"a":[],"u":9}}',
        b'{"topic":"orderbook.50.XY","ts":7,"type":"delta","data":{"s":"XY","b":[],"u":9}}',
        b'{"topic":"orderbook.50.XY","ts":7,"type":"delta","data":{"b":[],"a":[],"u":9}}',
        b'{"topic":"orderbook.50.XY","ts":7,"type":"delta","data":[]}',
        trades(),
        trades({"i": "5", "s": "XY"}),
        trades({"T": 5, "s": "XY"}),
        trades({"T": 5, "i": "5"}),
        trades({"T": 5, "i": 5, "s": "XY"}),
        b'{"topic":"publicTrade.XY","data":{"T":5,"i":"5","s":"XY"}}',
    ],
)
def test_a_message_with_a_field_missing_is_unreadable(message: bytes) -> None:
    """What is needed for a row and is not there, or of another type, is not guessed."""
    with pytest.raises(UnreadableFrame):
        Bybit().parse_message(message)


def test_a_refusal_without_a_topic_is_of_its_request() -> None:
    """It concerns the request, or where that has no id, everything that was asked for."""
    answer = b'{"success":false,"op":"subscribe"%s}'
    assert Bybit().parse_message(answer % b"") == (Rejection("", is_whole_request=True),)
    named = Rejection("no", "3", is_whole_request=True)
    assert Bybit().parse_message(answer % b',"req_id":"3","ret_msg":"no"') == (named,)


def test_an_answer_that_does_not_say_success_grants_nothing() -> None:
    """Without `success` it is neither an ack nor a refusal."""
    assert Bybit().parse_message(b'{"op":"subscribe"}') == (IgnoredMessage("subscribe"),)
