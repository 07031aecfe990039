import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.simulator import Simulation
from trio_collector.simulator.conversation import Conversation
from trio_collector.simulator.endpoints import ENDPOINTS
from trio_collector.simulator.net.frames import Opcode

STILL = Simulation(books_per_s=0, trades_per_s=0)

words = st.sampled_from(
    ["op", "args", "method", "params", "id", "req_id", "type", "codes", "ticket", "format", "channel",
     "product_ids", "instId", "subscribe", "SUBSCRIBE", "level2", "books", "orderbook.50.BTCUSDT",
     "BTC-USDT", "BTC-USD", "KRW-BTC", "btcusdt@trade", "unsubscribe", "LIST_SUBSCRIPTIONS", "ping"]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=5),
)


@pytest.mark.parametrize("target", ENDPOINTS)
@given(message=st.binary() | values.map(lambda value: json.dumps(value).encode()))
def test_any_message_is_answered_or_ignored(target: str, message: bytes) -> None:
    """Whatever a client sends, no dialect raises."""
    conversation = Conversation(target, STILL)
    conversation.say(message)
    conversation.pong(message)
    conversation.wait(100)


@pytest.mark.parametrize("target", ENDPOINTS)
def test_a_deep_message_is_refused(target: str) -> None:
    """A message nested a million deep is one more bad request."""
    assert Conversation(target, STILL).say(b"[" * 1_000_000)


@pytest.mark.parametrize("target", ENDPOINTS)
def test_nothing_follows_a_close_frame(target: str) -> None:
    """After its close frame a connection has nothing more to say or to hear."""
    conversation = Conversation(target)
    conversation.dialect.close(1000, "test")
    assert conversation.hear()[-1].opcode is Opcode.CLOSE
    assert conversation.say('{"op":"ping"}') == []
    assert conversation.wait(1_000) == []
