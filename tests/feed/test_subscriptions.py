"""What a session asked for: what acks grant, what refusals leave, and that asking comes to an end."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.events import Ack, DataType, Rejection, Topic
from trio_collector.exchanges.adapter import SubscribeRequest
from trio_collector.feed.subscriptions import Refusal, Subscriptions

A, B, C, D = (Topic(symbol, DataType.TRADE) for symbol in "abcd")
NOTHING = Refusal([], [])


def request(request_id: str | None, *topics: Topic) -> SubscribeRequest:
    return SubscribeRequest(request_id, "", topics)


def asked(*requests: SubscribeRequest, sends_acks: bool = True) -> Subscriptions:
    """Return the state after `requests` were sent at 0."""
    state = Subscriptions(sends_acks=sends_acks)
    for each in requests:
        state.record_request(each, 0)
        assert state.record_sent(each) == ([] if sends_acks else list(each.topics))
    return state


def test_an_ack_grants_by_topic() -> None:
    """An ack that names topics grants these, once."""
    state = asked(request("1", A, B))
    assert state.grant(Ack("1", (A,))) == [A]
    assert state.grant(Ack("1", (A, B))) == [B]
    assert state.waiting == {}


def test_an_ack_grants_by_request() -> None:
    """An ack that names a request grants all of it."""
    state = asked(request("1", A, B), request("2", C))
    assert state.grant(Ack("1")) == [A, B]
    assert list(state.waiting) == [C]


@pytest.mark.parametrize("ack", [Ack("7"), Ack(), Ack(topics=(D,))])
def test_an_ack_of_nothing_grants_nothing(ack: Ack) -> None:
    """An unknown request, and a topic that nobody asked for, are not granted."""
    state = asked(request("1", A))
    assert state.grant(ack) == []
    assert list(state.waiting) == [A]


def test_without_acks_sending_grants() -> None:
    """Where the exchange does not answer, what was sent is granted and nothing is waited for."""
    state = asked(request(None, A, B), sends_acks=False)
    assert state.granted == {A, B}
    assert state.overdue(100, 10) == []


def test_data_grants() -> None:
    """Data shows as much as an ack, which then grants nothing new."""
    state = asked(request("1", A, B))
    assert state.record_data(A) == [A]
    assert state.record_data(A) == []
    assert state.record_data(D) == []  # nobody asked for it
    assert state.grant(Ack("1")) == [B]


def test_data_grants_what_is_to_be_asked_again() -> None:
    """A topic that fell with others and delivers all the same is not asked for again."""
    state = asked(request("1", A, B))
    state.refuse(Rejection("why", "1"))
    assert state.record_data(A) == [A]
    assert not state.is_needed(request("2", A))


def test_a_refused_topic_is_given_up() -> None:
    """A refusal of the one topic of a request is final, whether it names the topic or the request."""
    state = asked(request("1", A), request("2", B))
    assert state.refuse(Rejection("why", "1")) == Refusal([A], [])
    assert state.refuse(Rejection("why", topics=(B,))) == Refusal([B], [])
    assert state.refused == {A, B}
    assert state.waiting == {}


def test_the_others_of_a_whole_request_are_asked_again() -> None:
    """One bad topic takes its request down, and the good ones are asked for together."""
    state = asked(request("1", A, B, C), request("2", D))
    rejection = Rejection("why", "1", (B,), is_whole_request=True)
    assert state.refuse(rejection) == Refusal([B], [[A, C]])
    assert list(state.waiting) == [D]


def test_without_whole_request_the_others_stand() -> None:
    """Where each topic is answered for itself, the others of the request go on waiting."""
    state = asked(request("1", A, B))
    assert state.refuse(Rejection("why", "1", (B,))) == Refusal([B], [])
    assert list(state.waiting) == [A]


def test_a_nameless_refusal_of_several_is_asked_one_by_one() -> None:
    """Nobody knows which one was bad, so each is asked for on its own; until then none waits."""
    state = asked(request("1", A, B))
    assert state.refuse(Rejection("why", "1")) == Refusal([], [[A], [B]])
    assert state.waiting == {}
    state.record_request(request("2", A), 60)
    assert state.overdue(69, 10) == []
    assert state.refuse(Rejection("why", "2")) == Refusal([A], [])


def test_a_refusal_without_any_name_is_about_what_waits() -> None:
    """With neither topics nor request, all that waits was refused."""
    state = asked(request(None, A, B), request(None, C))
    state.grant(Ack(topics=(A,)))
    assert state.refuse(Rejection("why")) == Refusal([], [[B], [C]])
    assert state.refuse(Rejection("why")) == NOTHING


@pytest.mark.parametrize("topic", [A, D])
def test_a_refusal_of_something_else_changes_nothing(topic: Topic) -> None:
    """A refusal that names a topic which is granted, or not ours, is not about what waits."""
    state = asked(request("1", A, B, C))
    state.grant(Ack(topics=(A,)))
    assert state.refuse(Rejection("why", "1", (topic,))) == NOTHING
    assert list(state.waiting) == [B, C]


def test_a_whole_request_refused_for_an_unknown_topic() -> None:
    """A request that fell because of a name that nobody asked for is asked for one by one."""
    state = asked(request("1", A, B))
    first, second = (Rejection("why", number, (D,), is_whole_request=True) for number in "12")
    assert state.refuse(first) == Refusal([], [[A], [B]])
    state.record_request(request("2", A), 0)
    assert state.refuse(second) == Refusal([A], [])


def test_an_ack_after_a_refusal_counts() -> None:
    """A topic that was given up by mistake is granted when the exchange says so."""
    state = asked(request(None, A))
    state.refuse(Rejection("why"))
    assert state.grant(Ack(topics=(A,))) == [A]
    assert state.refused == set()


def test_what_is_settled_is_not_asked_again() -> None:
    """A request that waited for its turn is needed while one of its topics is open."""
    state = asked(request("1", A), request("2", B))
    state.grant(Ack("1"))
    state.refuse(Rejection("why", "2"))
    assert not state.is_needed(request("3", A, B))
    assert state.is_needed(request("3", A, C))
    assert state.is_needed(request(None))  # it asks for no topic


def test_overdue_topics() -> None:
    """A topic is overdue when it has waited for so long."""
    state = asked(request("1", A))
    state.record_request(request("2", B), 4)
    assert state.next_deadline(5, 10) == 10
    assert state.overdue(9.9, 10) == []
    assert state.overdue(10, 10) == [A]
    state.record_request(request("3", C), 2)
    assert state.overdue(12, 10) == [A, C]
    assert state.overdue(14, 10) == [A, B, C]


def test_nothing_is_overdue_when_nothing_waits() -> None:
    """The next deadline is then as far away as that of a request sent now."""
    state = asked(request("1", A))
    state.grant(Ack("1"))
    assert state.next_deadline(50, 10) == 60
    assert state.overdue(1000, 10) == []


def test_answers_that_cannot_be_told_apart() -> None:
    """Without ids a request waits for the answer to the one before; one for no topic does not."""
    state = asked(request(None, A))
    assert state.must_wait(request(None, B))
    assert not state.must_wait(request("2", B))
    assert not state.must_wait(request(None))
    state.grant(Ack(topics=(A,)))
    assert not state.must_wait(request(None, B))


def test_an_exchange_that_turns_out_ambiguous() -> None:
    """After a refusal without any name, requests with ids wait for each other, too."""
    state = asked(request("1", A), request("2", B))
    state.refuse(Rejection("why"))
    state.record_request(request("3", A), 0)
    assert state.must_wait(request("4", B))


@given(
    st.booleans(),
    st.lists(
        st.tuples(
            st.sampled_from([None, "last", "1"]),
            st.lists(st.sampled_from([A, B, C, D]), max_size=2, unique=True),
            st.booleans(),
        ),
        min_size=20,
        max_size=20,
    ),
)
def test_asking_comes_to_an_end(
    has_ids: bool, refusals: Sequence[tuple[str | None, list[Topic], bool]]
) -> None:
    """An exchange that refuses all, however it words that, is asked a bounded number of times."""
    state = Subscriptions(sends_acks=True)
    number = 0
    to_ask = [[A, B, C]]
    for request_id, topics, is_whole in refusals:
        while to_ask:
            following = request(str(number + 1) if has_ids else None, *to_ask[0])
            if state.must_wait(following):
                break
            if state.is_needed(following):
                state.record_request(following, 0)
                number += 1
            del to_ask[0]
        named = str(number) if request_id == "last" else request_id
        refusal = state.refuse(Rejection("", named, tuple(topics), is_whole_request=is_whole))
        to_ask += refusal.again
    assert number <= 10
