from trio_collector.simulator import Simulation
from trio_collector.simulator.conversation import Conversation

BOOKS = '{"op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}'


def test_connections_of_an_exchange_get_the_same_frames() -> None:
    """A message is rendered once: ids and bytes are the exchange's, not the connection's."""
    first = Conversation("/okx/ws/v5/public")
    second = Conversation("/okx/ws/v5/public", exchange=first.exchange)
    first.say(BOOKS)
    second.say(BOOKS)
    heard = first.wait(2_000)
    assert heard
    assert second.hear() == heard


def test_who_has_left_gets_nothing() -> None:
    """A connection that ended is no subscriber any more."""
    conversation = Conversation("/okx/ws/v5/public")
    conversation.say(BOOKS)
    conversation.dialect.unsubscribe_all()
    assert conversation.wait(2_000) == []


def test_a_stall_is_not_made_up_for() -> None:
    """After a minute without a step at most a second of it happens."""
    conversation = Conversation("/okx/ws/v5/public", Simulation(books_per_s=100))
    conversation.say(BOOKS)
    conversation.exchange.step(conversation.now_ms + 60_000)
    assert 0 < len(conversation.hear()) < 200


def test_a_rest_makes_no_gap() -> None:
    """Ids go on where they were before the rest."""
    conversation = Conversation("/okx/ws/v5/public")
    conversation.say(BOOKS)
    conversation.wait(1_000)
    last_id = conversation.exchange.markets["BTC-USDT"].book().last_id
    conversation.exchange.rest_until(conversation.now_ms + 100_000)
    conversation.now_ms += 100_000
    conversation.dialect.heard_ms = conversation.now_ms
    assert f'"prevSeqId":{last_id},'.encode() in conversation.wait(1_000)[0].payload


def test_categories_of_bybit_are_different_markets() -> None:
    """Spot and linear share names and nothing else."""
    books = [
        Conversation(f"/bybit/v5/public/{category}").exchange.markets["BTCUSDT"].book()
        for category in ("spot", "linear", "inverse")
    ]
    assert len({book.last_id for book in books}) == 3
