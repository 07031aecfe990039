"""What all adapters do alike: splitting into requests, their ids, and what answers to them mean."""

import json

import pytest

from tests.exchanges.sixth_exchange import SixthExchange
from trio_collector.events import Ack, FeedType, IgnoredMessage, Rejection, Topic
from trio_collector.exchanges.adapter import Subscription
from trio_collector.exchanges.binance import Binance
from trio_collector.exchanges.okx import Okx

WANTED = [Subscription("A/B", feed) for feed in FeedType]


def test_ids_begin_at_one() -> None:
    """Texts or numbers; an unsubscribe has an id of its own kind."""
    assert [each.id for each in Okx().build_subscribe_messages(WANTED)] == ["1", "2"]
    assert [each.id for each in Okx().build_unsubscribe_messages(WANTED)] == ["u1", "u2"]
    sixth = SixthExchange()
    assert [each.id for each in sixth.build_subscribe_messages(WANTED)] == ["1", "2"]
    requests = sixth.build_unsubscribe_messages(WANTED)
    assert [each.id for each in requests] == ["1000000001", "1000000002"]
    assert [json.loads(each.text)["req_id"] for each in requests] == [1_000_000_001, 1_000_000_002]


def test_requests_are_as_full_as_the_limit_allows() -> None:
    """Topics keep their order; the last request holds what is left."""
    many = [Subscription(f"X{number}/Y", FeedType.TRADES) for number in range(101)]
    requests = SixthExchange().build_subscribe_messages(many)
    assert [len(each.topics) for each in requests] == [50, 50, 1]
    topics = [topic.symbol for each in requests for topic in each.topics]
    assert topics == [f"x{number}y" for number in range(101)]


@pytest.mark.parametrize(
    ("number", "is_unsubscribe"), [(999_999_999, False), (1_000_000_000, True)]
)
def test_numbers_of_unsubscribes_begin_at_a_billion(number: int, is_unsubscribe: bool) -> None:
    """Ids of subscribes never come so far."""
    [answer] = Binance().parse_message(b'{"result":null,"id":%d}' % number)
    assert answer == (IgnoredMessage("unsubscribe") if is_unsubscribe else Ack(str(number)))
    [refusal] = Binance().parse_message(b'{"code":2,"msg":"m","id":%d}' % number)
    assert isinstance(refusal, IgnoredMessage if is_unsubscribe else Rejection)


def test_a_channel_that_is_not_collected_has_no_topic() -> None:
    """An ack for it grants nothing."""
    text = '{"method":"subscribe","success":true,"result":{"channel":"%s","symbol":"A/B"}}'
    [ack] = SixthExchange().parse_message((text % "ticker").encode())
    assert ack == Ack()
    [ack] = SixthExchange().parse_message((text % "trade").encode())
    [topic] = SixthExchange().build_subscribe_messages(WANTED[1:])[0].topics
    assert ack == Ack(topics=(topic,))
    assert topic == Topic("ab", topic.data_type)
