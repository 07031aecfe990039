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

FAST = Simulation(books_per_s=100, trades_per_s=50)
STILL = Simulation(books_per_s=0, trades_per_s=0)


def subscribe(channel: str, *products: str) -> str:
    return json.dumps({"type": "subscribe", "channel": channel, "product_ids": products})


def decode(frames: list[Frame]) -> list[Any]:
    return [json.loads(frame.payload) for frame in frames if frame.opcode is Opcode.TEXT]


def test_sequence_counts_all_frames_of_a_connection() -> None:
    """From 0 on without a gap, over data, acks and heartbeats; errors have no number."""
    conversation = Conversation("/coinbase", FAST)
    frames = conversation.say(subscribe("heartbeats"))
    frames += conversation.say(subscribe("level2", "BTC-USD", "ETH-USD"))
    frames += conversation.wait(1_500)
    frames += conversation.say(subscribe("nope"))
    frames += conversation.say(subscribe("market_trades", "BTC-USD", "ETH-USD"))
    frames += conversation.wait(3_000)
    messages = decode(frames)
    numbers = [message["sequence_num"] for message in messages if "sequence_num" in message]
    assert numbers == list(range(len(messages) - 1))
    assert {message.get("channel", message.get("type")) for message in messages} == {
        "subscriptions", "heartbeats", "l2_data", "market_trades", "error",
    }  # fmt: skip


def test_connections_count_for_themselves() -> None:
    """A second connection begins at 0, with the same market behind it."""
    first = Conversation("/coinbase", FAST)
    first.say(subscribe("level2", "BTC-USD"))
    first.wait(500)
    second = Conversation("/coinbase", exchange=first.exchange)
    assert decode(second.say(subscribe("level2", "BTC-USD")))[0]["sequence_num"] == 0
    second.wait(1_000)
    one, other = decode(first.hear())[-1], decode(second.wait(100))[-1]
    assert one["events"] != []
    assert one["sequence_num"] > other["sequence_num"]


def test_books_are_rebuilt_from_snapshot_and_updates(apply: Apply, truth: Truth) -> None:
    """Each product's snapshot with its updates applied is its true book."""
    conversation = Conversation("/coinbase", FAST)
    frames = conversation.say(subscribe("level2", "BTC-USD", "ETH-USD")) + conversation.wait(3_000)
    books: dict[str, dict[str, Side]] = {}
    for message in decode(frames):
        for event in message["events"] if message["channel"] == "l2_data" else ():
            if event["type"] == "snapshot":
                books[event["product_id"]] = {"bid": {}, "offer": {}}
            for level in event["updates"]:
                side = books[event["product_id"]][level["side"]]
                apply(side, [[level["price_level"], level["new_quantity"]]])
    for product, sides in books.items():
        assert (sides["bid"], sides["offer"]) == truth(conversation.exchange.find(product))
    assert set(books) == {"BTC-USD", "ETH-USD"}


def test_updates_of_several_products_share_frames() -> None:
    """Such a frame belongs to the stream of each product, once."""
    conversation = Conversation("/coinbase", FAST)
    conversation.say(subscribe("level2", "BTC-USD", "ETH-USD"))
    shared = [frame for frame in conversation.wait(3_000) if len(frame.streams) == 2]
    assert shared
    for frame in shared:
        products = [event["product_id"] for event in json.loads(frame.payload)["events"]]
        assert sorted(products) == ["BTC-USD", "ETH-USD"]
        assert set(frame.streams) == {
            StreamKey("coinbase", "btcusd", "orderbook"),
            StreamKey("coinbase", "ethusd", "orderbook"),
        }


def test_acks_list_everything_so_far_and_may_come_late() -> None:
    """The ack of level2 comes after the first data; each ack names all channels."""
    conversation = Conversation("/coinbase", FAST)
    early = decode(conversation.say(subscribe("heartbeats")))
    assert early[0]["events"] == [{"subscriptions": {"heartbeats": ["heartbeats"]}}]
    messages = decode(conversation.say(subscribe("level2", "BTC-USD")) + conversation.wait(200))
    channels = [message["channel"] for message in messages]
    place = channels.index("subscriptions")
    assert place > 1
    assert messages[place]["events"] == [
        {"subscriptions": {"heartbeats": ["heartbeats"], "level2": ["BTC-USD"]}}
    ]


def test_trades_come_newest_first_after_a_snapshot_of_the_past() -> None:
    """Trade ids go on by one over snapshot and updates; some updates hold several trades."""
    conversation = Conversation("/coinbase", FAST)
    frames = conversation.say(subscribe("market_trades", "BTC-USD")) + conversation.wait(3_000)
    events = [
        event
        for message in decode(frames)
        if message["channel"] == "market_trades"
        for event in message["events"]
    ]
    assert [event["type"] for event in events[:2]] == ["snapshot", "update"]
    assert max(len(event["trades"]) for event in events[1:]) > 1
    ids = [int(trade["trade_id"]) for event in events for trade in reversed(event["trades"])]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_heartbeats_come_every_second() -> None:
    """The counter is a number that goes on by one."""
    conversation = Conversation("/coinbase", STILL)
    conversation.say(subscribe("heartbeats"))
    beats = [message["events"][0] for message in decode(conversation.wait(5_000))]
    counts = [beat["heartbeat_counter"] for beat in beats]
    assert counts == list(range(counts[0], counts[0] + 5))


def test_usdc_is_an_alias() -> None:
    """Subscribing -USDC delivers the ids of -USD."""
    conversation = Conversation("/coinbase", FAST)
    (snapshot,) = conversation.say(subscribe("level2", "BTC-USDC"))
    assert json.loads(snapshot.payload)["events"][0]["product_id"] == "BTC-USD"
    assert snapshot.streams == (StreamKey("coinbase", "btcusd", "orderbook"),)


def test_an_exchange_may_list_the_alias_alone() -> None:
    """A -USDC product among the settings opens the -USD market."""
    settings = Simulation(exchanges={"coinbase": ("BTC-USDC",)})
    assert list(Conversation("/coinbase", settings).exchange.markets) == ["BTC-USD"]


def test_who_does_not_subscribe_within_5_s_is_left() -> None:
    """The connection ends; one that subscribed in time goes on."""
    silent, busy = Conversation("/coinbase", STILL), Conversation("/coinbase", STILL)
    busy.wait(4_000)
    busy.say(subscribe("heartbeats"))
    assert [frame.opcode for frame in silent.wait(6_000)] == [Opcode.CLOSE]
    assert all(frame.opcode is Opcode.TEXT for frame in busy.wait(6_000))


@pytest.mark.parametrize(
    "request_text",
    [
        "{",
        "[]",
        '{"type":"subscribe"}',
        subscribe("nope", "BTC-USD"),
        subscribe("level2", "NO-USD"),
        subscribe("level2"),
        '{"type":"nope","channel":"level2"}',
    ],
)
def test_bad_requests_get_an_error(request_text: str) -> None:
    """An error has a type and a message, no channel and no number."""
    (error,) = decode(Conversation("/coinbase").say(request_text))
    assert set(error) == {"type", "message"}
    assert error["type"] == "error"


def test_unsubscribed_channels_end() -> None:
    """The ack lists what is left, and only that goes on."""
    conversation = Conversation("/coinbase", FAST)
    conversation.say(subscribe("market_trades", "BTC-USD"))
    conversation.say(subscribe("level2", "BTC-USD"))
    conversation.wait(500)
    request = {"type": "unsubscribe", "channel": "level2", "product_ids": ["BTC-USD"]}
    ack = decode(conversation.say(json.dumps(request)))[-1]
    assert ack["events"] == [{"subscriptions": {"market_trades": ["BTC-USD"]}}]
    channels = {message["channel"] for message in decode(conversation.wait(1_000))}
    assert channels == {"market_trades"}


def test_a_quiet_book_comes_without_levels() -> None:
    """Frames with no updates are normal, and counted."""
    conversation = Conversation("/coinbase", STILL)
    conversation.say(subscribe("level2", "BTC-USD"))
    *_, quiet = decode(conversation.wait(6_000))
    assert quiet["events"] == [{"type": "update", "product_id": "BTC-USD", "updates": []}]
