import json
from typing import Any

import pytest

from trio_collector.simulator import Simulation
from trio_collector.simulator.conversation import Conversation
from trio_collector.simulator.net.frames import Frame, Opcode, StreamKey

FAST = Simulation(books_per_s=50, trades_per_s=50)
STILL = Simulation(books_per_s=0, trades_per_s=0)


def subscribe(*types: dict[str, Any], form: str = "SIMPLE") -> str:
    return json.dumps([{"ticket": "t"}, *types, {"format": form}])


def decode(frames: list[Frame]) -> list[Any]:
    assert all(frame.opcode is Opcode.BINARY for frame in frames)
    return [json.loads(frame.payload) for frame in frames]


def test_no_ack_but_a_snapshot_and_then_realtime() -> None:
    """Each subscription begins with one SNAPSHOT; all frames are binary."""
    conversation = Conversation("/upbit/websocket/v1", FAST)
    wanted = ({"type": "trade", "codes": ["KRW-BTC"]}, {"type": "orderbook", "codes": ["KRW-BTC"]})
    first = decode(conversation.say(subscribe(*wanted)))
    assert [(message["ty"], message["st"]) for message in first] == [
        ("trade", "SNAPSHOT"),
        ("orderbook", "SNAPSHOT"),
    ]
    later = decode(conversation.wait(1_000))
    assert {(message["ty"], message["st"]) for message in later} == {
        ("trade", "REALTIME"),
        ("orderbook", "REALTIME"),
    }


@pytest.mark.parametrize(
    ("code", "units"),
    [("KRW-BTC", 30), ("KRW-BTC.1", 1), ("KRW-BTC.5", 5), ("KRW-BTC.15", 15), ("KRW-BTC.7", 30)],
)
def test_books_are_whole_and_true(code: str, units: int) -> None:
    """Each push has the best levels as JSON numbers, as many as the code asks for."""
    conversation = Conversation("/upbit/websocket/v1", FAST)
    conversation.say(subscribe({"type": "orderbook", "codes": [code]}))
    frames = conversation.wait(1_000)
    latest = decode(frames)[-1]
    book = conversation.exchange.markets["KRW-BTC"].book(units)
    asks = [(unit["ap"], unit["as"]) for unit in latest["obu"]]
    bids = [(unit["bp"], unit["bs"]) for unit in latest["obu"]]
    assert asks == [(price, size / 10**6) for price, size in book.asks]
    assert bids == [(price, size / 10**6) for price, size in book.bids]
    assert frames[-1].streams == (StreamKey("upbit", "krwbtc", "orderbook"),)


def test_default_format_spells_the_names_out() -> None:
    """DEFAULT and SIMPLE say the same under long and short names."""
    conversation = Conversation("/upbit/websocket/v1", FAST)
    wanted = {"type": "orderbook", "codes": ["KRW-BTC.1"]}
    (long,) = decode(conversation.say(subscribe(wanted, form="DEFAULT")))
    (short,) = decode(conversation.say(subscribe(wanted)))
    assert long["orderbook_units"][0]["ask_price"] == short["obu"][0]["ap"]
    assert long["type"] == short["ty"] == "orderbook"


def test_trade_ids_are_unique_and_nothing_else() -> None:
    """No sid comes twice; they have gaps and go back at times."""
    conversation = Conversation("/upbit/websocket/v1", FAST)
    conversation.say(subscribe({"type": "trade", "codes": ["KRW-BTC"]}))
    ids = [message["sid"] for message in decode(conversation.wait(3_000))]
    assert len(set(ids)) == len(ids) > 50
    assert ids != sorted(ids)
    assert max(ids) - min(ids) >= len(ids)


def test_unknown_codes_and_types_are_silent() -> None:
    """A wrong code gets neither an error nor data."""
    conversation = Conversation("/upbit/websocket/v1", FAST)
    wanted = ({"type": "trade", "codes": ["KRW-NO"]}, {"type": "ticker", "codes": ["KRW-BTC"]})
    assert conversation.say(subscribe(*wanted)) == []
    assert conversation.wait(1_000) == []


def test_a_request_replaces_the_one_before() -> None:
    """Only the latest request's codes go on."""
    conversation = Conversation("/upbit/websocket/v1", FAST)
    conversation.say(subscribe({"type": "trade", "codes": ["KRW-BTC"]}))
    conversation.say(subscribe({"type": "trade", "codes": ["KRW-ETH"]}))
    assert {message["cd"] for message in decode(conversation.wait(1_000))} == {"KRW-ETH"}


@pytest.mark.parametrize("spelling", ["is_only_realtime", "isOnlyRealtime"])
def test_only_realtime_has_no_snapshot(spelling: str) -> None:
    """The flag works in today's spelling and in that of 2021."""
    conversation = Conversation("/upbit/websocket/v1", FAST)
    wanted = {"type": "trade", "codes": ["KRW-BTC"], spelling: True}
    assert conversation.say(subscribe(wanted)) == []
    assert {message["st"] for message in decode(conversation.wait(1_000))} == {"REALTIME"}


def test_only_snapshot_has_nothing_after_it() -> None:
    """The snapshot comes and nothing follows."""
    conversation = Conversation("/upbit/websocket/v1", FAST)
    wanted = {"type": "trade", "codes": ["KRW-BTC"], "is_only_snapshot": True}
    assert len(conversation.say(subscribe(wanted))) == 1
    assert conversation.wait(1_000) == []


def test_ping_is_answered() -> None:
    """The text PING gets a status, in a binary frame."""
    assert decode(Conversation("/upbit/websocket/v1").say("PING")) == [{"status": "UP"}]


def test_subscriptions_can_be_listed() -> None:
    """LIST_SUBSCRIPTIONS answers with the types and the ticket."""
    conversation = Conversation("/upbit/websocket/v1")
    conversation.say(subscribe({"type": "trade", "codes": ["KRW-BTC"]}))
    (answer,) = decode(conversation.say('[{"ticket":"u"},{"method":"LIST_SUBSCRIPTIONS"}]'))
    assert answer["result"] == [{"type": "trade", "codes": ["KRW-BTC"]}]
    assert answer["ticket"] == "u"


@pytest.mark.parametrize(
    ("request_text", "name"),
    [
        ("{", "WRONG_FORMAT"),
        ('{"ticket":"t"}', "WRONG_FORMAT"),
        ("[1]", "WRONG_FORMAT"),
        ('[{"type":"trade","codes":["KRW-BTC"]}]', "NO_TICKET"),
        ('[{"ticket":"t"}]', "NO_TYPE"),
        ('[{"ticket":"t"},{"type":"trade"}]', "NO_CODES"),
        ('[{"ticket":"t"},{"type":null,"method":null}]', "NO_CODES"),
        ('[{"ticket":"t"},{"type":"trade","codes":"KRW-BTC"}]', "INVALID_PARAM"),
        ('[{"ticket":"t"},{"type":["trade"],"codes":["KRW-BTC"]}]', "INVALID_PARAM"),
    ],
)
def test_bad_requests_get_an_error(request_text: str, name: str) -> None:
    """Errors have a name and a text."""
    (error,) = decode(Conversation("/upbit/websocket/v1").say(request_text))
    assert error["error"]["name"] == name


def test_silence_ends_the_connection_after_120_s() -> None:
    """A PING now and then keeps a connection without data."""
    silent, kept = (Conversation("/upbit/websocket/v1", STILL) for _ in range(2))
    assert silent.wait(119_900) == []
    assert [frame.opcode for frame in silent.wait(200)] == [Opcode.CLOSE]
    for _ in range(3):
        assert kept.wait(100_000) == []
        kept.say("PING")
