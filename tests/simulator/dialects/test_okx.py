import itertools
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


def request(*args: tuple[str, str], op: str = "subscribe") -> str:
    listed = [{"channel": channel, "instId": instrument} for channel, instrument in args]
    return json.dumps({"id": "a1", "op": op, "args": listed})


def decode(frames: list[Frame]) -> list[Any]:
    return [json.loads(frame.payload) for frame in frames if frame.opcode is Opcode.TEXT]


def test_each_arg_is_acked_on_its_own() -> None:
    """An ack has the id, its arg and the connection; an error has the id and no arg."""
    conversation = Conversation("/okx/ws/v5/public")
    frames = conversation.say(
        request(("trades", "BTC-USDT"), ("trades", "NO-USDT"), ("nope", "BTC-USDT"))
    )
    ack, *errors = decode(frames)
    assert ack["arg"] == {"channel": "trades", "instId": "BTC-USDT"}
    assert [ack["id"], ack["event"]] == ["a1", "subscribe"]
    for error in errors:
        assert [error["id"], error["event"], error["code"]] == ["a1", "error", "60018"]
        assert "arg" not in error
    assert len({message["connId"] for message in (ack, *errors)}) == 1


def test_books_are_rebuilt_from_snapshot_and_updates(apply: Apply, truth: Truth) -> None:
    """Each push names the one before; together they are the true book. Checksums are 0."""
    conversation = Conversation("/okx/ws/v5/public", FAST)
    _ack, *frames = conversation.say(request(("books", "BTC-USDT"))) + conversation.wait(3_000)
    bids, asks, last_id = Side(), Side(), -1
    for place, message in enumerate(decode(frames)):
        (book,) = message["data"]
        assert message["action"] == ("update" if place else "snapshot")
        assert [book["prevSeqId"], book["checksum"]] == [last_id, 0]
        last_id = book["seqId"]
        apply(bids, book["bids"])
        apply(asks, book["asks"])
    assert (bids, asks) == truth(conversation.exchange.find("BTC-USDT"))
    assert frames[-1].streams == (StreamKey("okx", "btcusdt", "orderbook"),)


@pytest.mark.parametrize(("channel", "depth"), [("books5", 5), ("bbo-tbt", 1)])
def test_short_books_are_whole_each_time(channel: str, depth: int, truth: Truth) -> None:
    """They have no action, a growing seqId and the best levels."""
    conversation = Conversation("/okx/ws/v5/public", FAST)
    conversation.say(request((channel, "BTC-USDT")))
    messages = decode(conversation.wait(1_000))
    (book,) = messages[-1]["data"]
    bids, asks = truth(conversation.exchange.find("BTC-USDT"))
    assert "action" not in messages[-1]
    assert [Decimal(level[0]) for level in book["bids"]] == list(bids)[:depth]
    assert [Decimal(level[0]) for level in book["asks"]] == list(asks)[:depth]


def test_trades_say_how_many_they_are() -> None:
    """tradeId is the last id of the order's fills: it goes on by `count`."""
    conversation = Conversation("/okx/ws/v5/public", FAST)
    conversation.say(request(("trades", "BTC-USDT")))
    trades = [message["data"][0] for message in decode(conversation.wait(3_000))]
    counts = [int(trade["count"]) for trade in trades]
    assert max(counts) > 1
    ids = [int(trade["tradeId"]) for trade in trades]
    assert [later - earlier for earlier, later in itertools.pairwise(ids)] == counts[1:]


def test_a_quiet_book_repeats_its_id() -> None:
    """After 60 s without a change comes an update without levels and with equal ids."""
    conversation = Conversation("/okx/ws/v5/public", STILL)
    _ack, snapshot = decode(conversation.say(request(("books", "BTC-USDT"))))
    frames = []
    for _ in range(3):
        conversation.say("ping")
        frames += conversation.wait(20_020)
    (message,) = decode(frames)
    (book,) = message["data"]
    last_id = snapshot["data"][0]["seqId"]
    assert [book["prevSeqId"], book["seqId"]] == [last_id, last_id]
    assert book["asks"] == book["bids"] == []


def test_subscribing_again_acks_again_and_changes_nothing() -> None:
    """The second ack comes without a second snapshot, and data does not double."""
    conversation = Conversation("/okx/ws/v5/public", FAST)
    conversation.say(request(("books", "BTC-USDT")))
    (again,) = decode(conversation.say(request(("books", "BTC-USDT"))))
    assert again["event"] == "subscribe"
    ids = [message["data"][0]["seqId"] for message in decode(conversation.wait(1_000))]
    assert len(ids) == len(set(ids))


def test_resubscribing_gives_a_fresh_snapshot() -> None:
    """Unsubscribing and subscribing is the way back from a gap."""
    conversation = Conversation("/okx/ws/v5/public", FAST)
    conversation.say(request(("books", "BTC-USDT")))
    (gone,) = decode(conversation.say(request(("books", "BTC-USDT"), op="unsubscribe")))
    assert gone["event"] == "unsubscribe"
    assert conversation.wait(1_000) == []
    _ack, snapshot = decode(conversation.say(request(("books", "BTC-USDT"))))
    assert snapshot["action"] == "snapshot"


def test_ping_is_answered_by_plain_text() -> None:
    """pong is not JSON."""
    (pong,) = Conversation("/okx/ws/v5/public").say("ping")
    assert pong == Frame(b"pong")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"op":"subscribe","argss":[]}', request(("x", "y"), op="n")]
)
def test_bad_requests_get_an_error(text: str) -> None:
    """What is no request is 60012."""
    (error,) = decode(Conversation("/okx/ws/v5/public").say(text))
    assert [error["event"], error["code"]] == ["error", "60012"]


def test_silence_ends_the_connection_after_30_s() -> None:
    """4004 comes when neither side said anything; a ping in time keeps it."""
    silent, kept = (Conversation("/okx/ws/v5/public", STILL) for _ in range(2))
    assert silent.wait(29_980) == []
    (closing,) = silent.wait(40)
    assert closing.payload.startswith((4004).to_bytes(2, "big"))
    for _ in range(5):
        assert kept.wait(25_000) == []
        kept.say("ping")
