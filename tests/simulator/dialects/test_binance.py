import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pytest

from trio_collector.simulator import Simulation
from trio_collector.simulator.conversation import Conversation
from trio_collector.simulator.dialects.binance import depth_snapshot
from trio_collector.simulator.markets.market import Market
from trio_collector.simulator.net.frames import Frame, Opcode, StreamKey

Side = dict[Decimal, Decimal]
Apply = Callable[[Side, Iterable[list[str]]], None]
Truth = Callable[[Market | None], tuple[Side, Side]]

FAST = Simulation(books_per_s=100, trades_per_s=50)


def subscribe(*names: str) -> str:
    return json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1})


def decode(frames: list[Frame]) -> list[Any]:
    return [json.loads(frame.payload) for frame in frames if frame.opcode is Opcode.TEXT]


def test_subscriptions_are_acked_by_id() -> None:
    """The ack holds the request's id, be it a number, a text or null."""
    conversation = Conversation("/binance/stream")
    for request_id in (1, "a1", None):
        request = {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": request_id}
        assert decode(conversation.say(json.dumps(request))) == [{"result": None, "id": request_id}]
        conversation.wait(1_000)


def test_an_unknown_name_is_acked_and_silent() -> None:
    """A symbol or stream that does not exist gets an ack and nothing more."""
    conversation = Conversation("/binance/stream", FAST)
    frames = conversation.say(subscribe("nope@trade", "btcusdt@nope", "BTCUSDT@trade", "x"))
    assert decode(frames) == [{"result": None, "id": 1}]
    assert conversation.wait(2_000) == []


def test_partial_books_are_the_true_book() -> None:
    """A partial book has the best levels and no symbol; the latest is the book as it is."""
    conversation = Conversation("/binance/stream", FAST)
    conversation.say(subscribe("btcusdt@depth20@100ms"))
    frames = conversation.wait(1_000)
    latest = decode(frames)[-1]
    truth = json.loads(depth_snapshot(conversation.exchange.markets["BTCUSDT"], 20))
    assert latest == {"stream": "btcusdt@depth20@100ms", "data": truth}
    assert frames[-1].streams == (StreamKey("binance", "btcusdt", "orderbook"),)
    ids = [frame["data"]["lastUpdateId"] for frame in decode(frames)]
    assert ids == sorted(set(ids))


def test_diffs_spliced_onto_the_rest_snapshot_are_the_true_book(apply: Apply, truth: Truth) -> None:
    """Binance's own rule for a local book works, whenever the snapshot is taken."""
    conversation = Conversation("/binance/ws", FAST)
    market = conversation.exchange.find("BTCUSDT")
    assert market is not None
    conversation.say(subscribe("btcusdt@depth@100ms"))
    diffs = decode(conversation.wait(500))
    snapshot = json.loads(depth_snapshot(market, 5000))
    diffs += decode(conversation.wait(2_000))
    assert diffs[0]["U"] <= snapshot["lastUpdateId"]
    bids, asks = Side(), Side()
    apply(bids, snapshot["bids"])
    apply(asks, snapshot["asks"])
    last_id = snapshot["lastUpdateId"]
    for diff in diffs:
        if diff["u"] > snapshot["lastUpdateId"]:
            assert diff["U"] == last_id + 1
            last_id = diff["u"]
            apply(bids, diff["b"])
            apply(asks, diff["a"])
    assert (bids, asks) == truth(market)


def test_trades_come_one_by_one() -> None:
    """`t` goes on by one; numbers are texts with eight digits behind the point."""
    conversation = Conversation("/binance/stream", FAST)
    conversation.say(subscribe("ethusdt@trade"))
    trades = [message["data"] for message in decode(conversation.wait(3_000))]
    ids = [trade["t"] for trade in trades]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert len(trades) == pytest.approx(150, rel=0.4)
    assert all(len(trade["p"].partition(".")[2]) == 8 for trade in trades)
    assert {"e", "E", "s", "t", "p", "q", "T", "m", "M"} == set(trades[0])


def test_names_in_the_url_are_subscribed() -> None:
    """`?streams=` subscribes without a request, and without an ack."""
    conversation = Conversation("/binance/stream?streams=btcusdt@trade/ethusdt@trade", FAST)
    names = {message["stream"] for message in decode(conversation.wait(1_000))}
    assert names == {"btcusdt@trade", "ethusdt@trade"}


def test_unsubscribed_streams_end() -> None:
    """UNSUBSCRIBE is acked and the stream stops; LIST_SUBSCRIPTIONS no longer has it."""
    conversation = Conversation("/binance/stream", FAST)
    conversation.say(subscribe("btcusdt@trade", "btcusdt@depth"))
    request = {"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 2}
    assert decode(conversation.say(json.dumps(request)))[-1] == {"result": None, "id": 2}
    listing = conversation.say('{"method":"LIST_SUBSCRIPTIONS","id":3}')
    assert decode(listing) == [{"result": ["btcusdt@depth"], "id": 3}]
    assert {message["stream"] for message in decode(conversation.wait(1_000))} == {"btcusdt@depth"}


@pytest.mark.parametrize(
    ("request_text", "code"),
    [
        ("{", 3),
        ("", 3),
        ("[]", 2),
        ('{"method":"SUBSCRIBE","params":1,"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[],"id":"no spaces"}', 2),
        ('{"method":"SUBSCRIBE","params":[],"id":99999999999999999999}', 2),
        ('{"method":"NOPE","id":1}', 2),
    ],
)
def test_bad_requests_get_an_error(request_text: str, code: int) -> None:
    """What is no request is answered by a code; with the id where it is known, nested."""
    (error,) = decode(Conversation("/binance/stream").say(request_text))
    assert error.get("error", error)["code"] == code


def test_pings_come_every_20_s_and_pongs_keep_alive() -> None:
    """A client that answers pings is kept for good."""
    conversation = Conversation("/binance/stream", Simulation(books_per_s=0, trades_per_s=0))
    pings = 0
    for _ in range(200):
        for frame in conversation.wait(1_000):
            assert frame.opcode is Opcode.PING
            conversation.pong(frame.payload)
            pings += 1
    assert pings == 10


def test_a_client_that_answers_no_ping_is_left() -> None:
    """A minute after a ping without its own pong the connection ends; other pongs do not help."""
    conversation = Conversation("/binance/stream", Simulation(books_per_s=0, trades_per_s=0))
    frames = []
    for _ in range(90):
        frames += conversation.wait(1_000)
        conversation.pong(b"unsolicited")
    assert frames[-1].opcode is Opcode.CLOSE
    assert frames[-1].payload == b"\x03\xf0Pong timeout"


def test_more_than_5_messages_a_second_end_the_connection() -> None:
    """The sixth message within a second is one too many, pongs included."""
    conversation = Conversation("/binance/stream")
    for _ in range(4):
        assert conversation.say(subscribe("btcusdt@trade"))[-1].opcode is Opcode.TEXT
    assert conversation.pong(b"") == []
    assert conversation.say(subscribe("btcusdt@trade"))[-1].opcode is Opcode.CLOSE
    assert conversation.wait(30_000) == []
