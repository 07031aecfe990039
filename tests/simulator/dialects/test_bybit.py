import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pytest

from trio_collector.simulator import Simulation
from trio_collector.simulator.conversation import Conversation
from trio_collector.simulator.markets.market import Market
from trio_collector.simulator.net.frames import Frame, Opcode, StreamKey

Side = dict[Decimal, Decimal]
Apply = Callable[[Side, Iterable[list[str]]], None]
Truth = Callable[[Market | None], tuple[Side, Side]]

SPOT = "/bybit/v5/public/spot"
LINEAR = "/bybit/v5/public/linear"
FAST = Simulation(books_per_s=100, trades_per_s=50)
STILL = Simulation(books_per_s=0, trades_per_s=0)


def subscribe(*topics: str) -> str:
    return json.dumps({"req_id": "r1", "op": "subscribe", "args": topics})


def decode(frames: list[Frame]) -> list[Any]:
    return [json.loads(frame.payload) for frame in frames if frame.opcode is Opcode.TEXT]


@pytest.mark.parametrize(("target", "text"), [(SPOT, "subscribe"), (LINEAR, "")])
def test_one_ack_for_a_request(target: str, text: str) -> None:
    """Whatever its topics, a request is acked once; spot and linear word it differently."""
    messages = decode(
        Conversation(target).say(subscribe("orderbook.50.BTCUSDT", "publicTrade.ETHUSDT"))
    )
    (ack,) = [message for message in messages if "op" in message]
    assert ack["success"] is True
    assert [ack["op"], ack["req_id"], ack["ret_msg"]] == ["subscribe", "r1", text]


@pytest.mark.parametrize("topic", ["orderbook.500.BTCUSDT", "publicTrade.NOUSDT", "nope"])
def test_one_bad_topic_fails_the_whole_request(topic: str) -> None:
    """The good topics of the request stay silent too."""
    conversation = Conversation(SPOT, FAST)
    (refusal,) = decode(conversation.say(subscribe("publicTrade.BTCUSDT", topic)))
    assert refusal["success"] is False
    assert refusal["ret_msg"] == f"error:handler not found,topic:{topic}"
    assert conversation.wait(1_000) == []


def test_spot_takes_10_args_at_most() -> None:
    """The eleventh fails a request on spot; linear knows no such limit."""
    topics = [f"orderbook.{d}.{s}USDT" for d in (1, 50, 200, 1000) for s in ("BTC", "ETH")]
    topics += [f"publicTrade.{symbol}USDT" for symbol in ("BTC", "ETH")]
    assert decode(Conversation(SPOT).say(subscribe(*topics)))[0]["success"] is True
    eleven = subscribe(*topics, topics[0])
    assert decode(Conversation(SPOT).say(eleven))[0]["ret_msg"] == "args size >10"
    assert decode(Conversation(LINEAR).say(eleven))[-1]["success"] is True


def test_subscribing_twice_is_refused_and_the_first_goes_on() -> None:
    """The refusal names the topic."""
    conversation = Conversation(SPOT, FAST)
    conversation.say(subscribe("publicTrade.BTCUSDT"))
    (refusal,) = decode(conversation.say(subscribe("publicTrade.BTCUSDT")))
    assert refusal["ret_msg"] == "error:already subscribed,topic:publicTrade.BTCUSDT"
    assert conversation.wait(1_000)


@pytest.mark.parametrize("target", [SPOT, LINEAR])
@pytest.mark.parametrize("depth", [50, 200, 1000])
def test_books_are_rebuilt_from_snapshot_and_deltas(
    target: str, depth: int, apply: Apply, truth: Truth
) -> None:
    """`u` goes on by one from the snapshot; together the messages are the true book."""
    conversation = Conversation(target, FAST)
    topic = f"orderbook.{depth}.BTCUSDT"
    frames = conversation.say(subscribe(topic)) + conversation.wait(2_000)
    messages = [message for message in decode(frames) if message.get("topic") == topic]
    numbers = [message["data"]["u"] for message in messages]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert [message["type"] for message in messages[:2]] == ["snapshot", "delta"]
    bids, asks = Side(), Side()
    for message in messages:
        apply(bids, message["data"]["b"])
        apply(asks, message["data"]["a"])
    assert (bids, asks) == truth(conversation.exchange.find("BTCUSDT"))
    symbol = "btcusdt" if target == SPOT else "btcusdt.linear"
    assert frames[-1].streams == (StreamKey("bybit", symbol, "orderbook"),)


def test_best_levels_are_whole_and_repeated() -> None:
    """Depth 1 is a snapshot each time; without a change it comes again after 3 s, same `u`."""
    conversation = Conversation(SPOT, STILL)
    _ack, first = decode(conversation.say(subscribe("orderbook.1.BTCUSDT")))
    repeats = decode(conversation.wait(10_000))
    assert [message["data"]["u"] for message in repeats] == [first["data"]["u"]] * 3
    assert {message["type"] for message in (first, *repeats)} == {"snapshot"}
    assert len(first["data"]["b"]) == len(first["data"]["a"]) == 1


def test_trades_of_a_match_share_a_message() -> None:
    """One to several trades, oldest first, type snapshot; nothing comes at subscribing."""
    conversation = Conversation(SPOT, FAST)
    assert len(conversation.say(subscribe("publicTrade.BTCUSDT"))) == 1
    messages = decode(conversation.wait(3_000))
    assert max(len(message["data"]) for message in messages) > 1
    assert {message["type"] for message in messages} == {"snapshot"}
    ids = [int(trade["i"]) for message in messages for trade in message["data"]]
    assert ids == sorted(set(ids))


def test_linear_trade_ids_are_uuids() -> None:
    """Futures trades carry a UUID and a tick direction; no id comes twice."""
    conversation = Conversation(LINEAR, FAST)
    conversation.say(subscribe("publicTrade.BTCUSDT"))
    trades = [trade for message in decode(conversation.wait(3_000)) for trade in message["data"]]
    assert len({trade["i"] for trade in trades}) == len(trades)
    assert all(len(trade["i"]) == 36 and "L" in trade for trade in trades)


def test_public_pong_keeps_the_op_of_ping() -> None:
    """The answer's op is "ping" and its ret_msg "pong"."""
    (pong,) = decode(Conversation(SPOT).say('{"req_id":"7","op":"ping"}'))
    assert [pong["op"], pong["ret_msg"], pong["success"]] == ["ping", "pong", True]
    assert pong["req_id"] == "7"


def test_unsubscribed_topics_end() -> None:
    """Unsubscribing is acked and the topic stops."""
    conversation = Conversation(SPOT, FAST)
    conversation.say(subscribe("publicTrade.BTCUSDT"))
    request = '{"op":"unsubscribe","args":["publicTrade.BTCUSDT"]}'
    (ack,) = decode(conversation.say(request))
    assert [ack["op"], ack["success"]] == ["unsubscribe", True]
    assert conversation.wait(1_000) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"op":"subscribe","args":[1]}', '{"op":"nope"}'])
def test_bad_requests_are_refused(text: str) -> None:
    """What is no request gets success false."""
    (refusal,) = decode(Conversation(SPOT).say(text))
    assert refusal["success"] is False
